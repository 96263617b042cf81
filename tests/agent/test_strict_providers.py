"""Providers with a protocol of their own take every history that a conversation here can have, and are read whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings

from roommate.agent.provider_model import ProviderModel
from roommate.domain import (
    Answer,
    Event,
    Picture,
    Prompt,
    Reply,
    Step,
    TextDelta,
    TextDropped,
    Thinking,
    Thought,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserId,
)
from roommate.errors import ModelRefused
from tests.agent.conversations import conversations
from tests.agent.test_provider_model import QUICK
from tests.strict_providers import Out, StrictProviders

ALICE = UserId("@alice:x.org")
SPECS = [ToolSpec(name, "Does.", {"type": "object", "properties": {}}) for name in ("run_command", "read_file")]
TWO = (("run_command", {"command": "ls"}), ("read_file", {"path": "ä.txt"}))

WAYS = {
    "anthropic": ("anthropic/claude-sonnet-4-5", "", {"reasoning_effort": "low"}),
    "gemini": ("gemini/gemini-2.5-flash", "/v1beta", {}),
    "responses": ("openai/responses/gpt-5-codex", "/v1", {}),
    "ollama": ("ollama/qwen3", "", {}),
}
CUT_OFF = {"anthropic": "max_tokens", "gemini": "MAX_TOKENS", "responses": "max_output_tokens", "ollama": "length"}


@dataclass
class Way:
    name: str
    server: StrictProviders
    model: ProviderModel
    events: list[Event]

    async def ask(self, history: list[Step]) -> Reply:
        return await self.model.reply("You are Roommate.", history, SPECS, self.events.append)

    @property
    def shown(self) -> str:
        text = ""
        for event in self.events:
            text = "" if isinstance(event, TextDropped) else text + event.text if isinstance(event, TextDelta) else text
        return text


@pytest.fixture(params=list(WAYS))
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    name, base, params = WAYS[request.param]
    async with StrictProviders() as server:
        model = ProviderModel(name, api_key="k", api_base=server.url + base, timeout=5, patience=QUICK, params=params)
        yield Way(request.param, server, model, [])


def answered(history: list[Step], reply: Reply) -> list[Step]:
    results = [ToolResult(call.id, f"of {call.name}") for call in reply.calls]
    return [*history, Answer(reply.text, reply.calls, reply.thought), *results]


async def test_calls_in_parallel_are_read_and_their_results_taken(way: Way) -> None:
    way.server.replies = (Out("I look.", TWO, "First the folder."), Out("", TWO[:1], "Again."), Out("Done."))
    history: list[Step] = [Prompt("look", ALICE)]
    for text, calls in (("I look.", 2), ("", 1), ("Done.", 0)):
        way.events.clear()
        reply = await way.ask(history)
        assert (reply.text, way.shown, len(reply.calls)) == (text, text, calls)
        history = answered(history, reply)
    first = next(step for step in history if isinstance(step, Answer))
    assert [(call.name, json.loads(call.arguments)) for call in first.calls] == list(TWO)
    # The next prompt follows, and so does a model that wants nothing of the other's thoughts.
    assert (await way.ask([*history, Prompt("and now?", ALICE)])).text == "Done."


async def test_a_stream_that_is_cut_anywhere_is_asked_for_again(way: Way) -> None:
    way.server.replies = (Out("Some words of an answer.", TWO),)
    whole = await way.ask([Prompt("look", ALICE)])
    for cut in (0, 150, 400, 700, 900):
        way.events.clear()
        way.server.cut = cut
        reply = await way.ask([Prompt("look", ALICE)])
        assert (reply.text, way.shown) == (whole.text, whole.text)
        assert [(call.name, call.arguments) for call in reply.calls] == [(c.name, c.arguments) for c in whole.calls]


async def test_a_reply_that_was_too_long_says_so(way: Way) -> None:
    way.server.replies = (Out("half a sen", stop=CUT_OFF[way.name]),)
    reply = await way.ask([Prompt("write", ALICE)])
    assert reply.text.startswith("half a sen\n\n(The model reached")


async def test_pictures_and_300_rounds_are_taken(way: Way) -> None:
    way.server.replies = (Out("Done."),)
    history: list[Step] = [Prompt("go", ALICE)]
    for number in range(300):
        picture = Picture("image/png", b"\x89PNG") if number == 299 and way.name != "gemini" else None
        call = ToolCall(f"call_{number}", "run_command", "{}")
        history += [Answer("", (call,)), ToolResult(call.id, "out", picture=picture)]
    if way.name in ("anthropic", "gemini"):  # thoughts of the turn that runs were never kept: they are not asked for
        history += [Answer("so far"), Prompt("go on", ALICE)]
    assert (await way.ask(history)).text == "Done."


async def test_a_conversation_goes_from_one_protocol_to_the_next_and_back_with_no_thought_of_another() -> None:
    async with StrictProviders() as server:
        history: list[Step] = [Prompt("look", ALICE)]
        for turn, name in enumerate([*WAYS, *reversed(WAYS)]):
            model, base, params = WAYS[name]
            way = Way(
                name,
                server,
                ProviderModel(model, api_key="k", api_base=server.url + base, timeout=5, patience=QUICK, params=params),
                [],
            )
            server.replies = (Out(f"I look {turn}.", TWO, f"Thought {turn} of {name}."), Out(f"Done {turn}."))
            server.asked.clear()
            for text in (f"I look {turn}.", f"Done {turn}."):
                reply = await way.ask(history)
                assert reply.text == text
                history = answered(history, reply)
            sent = f"{server.asked}"
            assert not [one for one in WAYS if one != name and f"of {one}." in sent]
            assert f"Done {turn - 1}." in sent or not turn, "all that was said goes with it"
            history.append(Prompt("and now?", ALICE))


async def test_what_another_model_thought_is_not_sent(way: Way) -> None:
    way.server.replies = (Out("Done."),)
    foreign = Thought("openrouter/x", {"reasoning_details": [{"type": "reasoning.text", "text": "secret thought"}]})
    await way.ask([Prompt("a", ALICE), Answer("b", (), foreign), Prompt("c", ALICE)])
    assert "secret thought" not in f"{way.server.asked}"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(conversation=conversations)
def test_every_history_is_taken(conversation: tuple[list[Step], ...]) -> None:
    steps = [step for turn in conversation for step in turn]
    while isinstance(steps[-1], Answer):
        steps.pop()
    # A call of the running turn that Gemini signed has its signature; ours here never came from it.
    if isinstance(steps[-1], ToolResult):
        steps += [Answer("so far"), Prompt("go on", ALICE)]

    async def ask() -> None:
        for name, base, _ in WAYS.values():
            async with StrictProviders(Out("ok")) as server:
                model = ProviderModel(name, api_key="k", api_base=server.url + base, timeout=5, patience=QUICK)
                assert (await model.reply("Be brief.", steps, SPECS, lambda _: None)).text == "ok"

    asyncio.run(ask())


async def test_claude_gets_its_signed_thoughts_back() -> None:
    async with StrictProviders(Out("", TWO[:1], "Let me look."), Out("Done.")) as server:
        model = ProviderModel(
            "anthropic/claude-sonnet-4-5", api_key="k", api_base=server.url, params={"reasoning_effort": "low"}
        )
        events: list[Event] = []
        history: list[Step] = [Prompt("look", ALICE)]
        reply = await model.reply("", history, SPECS, events.append)
        assert "".join(event.text for event in events if isinstance(event, Thinking)) == "Let me look."
        await model.reply("", answered(history, reply), SPECS, events.append)
        thoughts = [block for block in server.asked[1]["messages"][1]["content"] if block["type"] == "thinking"]
        assert [block["thinking"] for block in thoughts] == ["Let me look."]


async def test_ollama_reads_as_much_as_we_count_on_and_says_when_it_cannot_call_tools() -> None:
    async with StrictProviders(Out("ok")) as server:
        model = ProviderModel("ollama/qwen3", api_base=server.url, context_tokens=16_000)
        await model.reply("", [Prompt("hi", ALICE)], SPECS, lambda _: None)
        assert server.asked[0]["options"]["num_ctx"] == 16_000
        assert [tool["function"]["name"] for tool in server.asked[0]["tools"]] == ["run_command", "read_file"]
        server.tools_known = False
        with pytest.raises(ModelRefused, match="cannot call tools"):
            await model.reply("", [Prompt("hi", ALICE)], SPECS, lambda _: None)
