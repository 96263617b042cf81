"""A turn asks its model with the same history at every round: what is made of a step is made once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest

from roommate.agent.cached_per_step import CachedPerStep
from roommate.agent.openai_messages import Messages
from roommate.agent.provider_model import ProviderModel
from roommate.agent.turn import run_turn
from roommate.domain import Answer, Emit, Prompt, Step, Thought, ToolCall, ToolResult, ToolSpec, Usage, UserId
from roommate.net import outbound_http
from tests.patience import PATIENCE
from tests.scripted_model import Call, ScriptedModel, Text

ALICE, BOB = UserId("@alice:x"), UserId("@bob:x")
ROUNDS = 18
MAKING = {"clean", "as_object", "text_tokens", "_answer", "_result", "_call", "_stub", "_json", "tools_for"}
"""The functions of the agent's package that read a text or write one."""


class Counting:
    """How often these ran between two requests of the model."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.rounds: list[Counter[str]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in MAKING and "/roommate/agent/" in code.co_filename:
            self.now[code.co_name] += 1

    def next(self) -> None:
        self.rounds.append(self.now)
        self.now = Counter()


class Reading:
    """Implements `Tools` and `Journal`: reads a file."""

    specs: Sequence[ToolSpec] = (ToolSpec("read_file", "Reads.", {"type": "object", "properties": {}}),)

    def title(self, call: ToolCall) -> str:
        return call.name

    def goes_on(self, call: ToolCall) -> bool:
        return False

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        return ToolResult(call.id, f"{call.id} has a line\n" * 60)

    async def add(self, step: Step, usage: Usage) -> None:
        pass


@pytest.mark.parametrize("way", ["our own wire", "LiteLLM"])
@pytest.mark.parametrize("context", [1_000_000, 6000], ids=["all of it fits", "results are shortened"])
async def test_a_round_makes_what_is_new_in_it(way: str, context: int) -> None:
    session = outbound_http.LazySession()
    counting, work = Counting(), Reading()
    earlier: list[list[Step]] = [[Prompt(f"{n}: look", (ALICE, BOB)[n % 2]), Answer("I did.")] for n in range(20)]
    async with ScriptedModel() as server:

        def reply(asked: Any) -> Any:
            counting.next()
            number = len(server.asked)
            return [Text("done")] if number > ROUNDS else [Call("read_file", f'{{"path": "{number}"}}', f"c{number}")]

        server.rules = reply
        given = session if way == "our own wire" else None
        model = ProviderModel("openai/x", api_key="k", api_base=server.url, context_tokens=context, timeout=PATIENCE,
                              session=given)  # fmt: skip
        await model.load()
        sys.setprofile(counting)
        try:
            await run_turn([*earlier, [Prompt("go", ALICE)]], room="r", model=model, tools=work, store=work,
                           emit=lambda _: None, rounds=ROUNDS + 1)  # fmt: skip
        finally:
            sys.setprofile(None)
            await session.close()
    first, *rounds = (made.total() for made in counting.rounds)
    assert len(rounds) == ROUNDS
    assert first > 60, "the whole history"
    assert max(rounds[1:]) < 50, "what is new"
    assert rounds[-1] <= rounds[-4] + 8, "not more, the longer the history is"


def test_what_is_made_goes_with_its_step_and_depends_on_who_wrote_and_who_reads() -> None:
    messages = Messages("one")
    history: list[Step] = [Prompt("a", ALICE), Prompt("b", ALICE), Answer("c", (), Thought("one", {"x": 1}))]
    once, again = messages.of("", history), messages.of("", history)
    assert [id(message) for message in once] == [id(message) for message in again]
    assert [message["content"] for message in once] == ["a\n\nb", "c"]
    both = messages.of("", [*history, Prompt("d", BOB)])
    assert [message["content"] for message in both] == ["alice: a\n\nb", "c", "bob: d"]
    assert messages.of("", history) == once
    del once, again, both
    history.clear()
    assert len(messages._made) == 0


def test_a_step_in_the_place_of_one_that_died_is_made_anew() -> None:
    made: CachedPerStep[str] = CachedPerStep()
    for number in range(100):
        step = Answer(f"{number}")
        assert made(step, lambda step: step.text) == f"{number}"
        del step
    assert len(made) <= 1
