"""Providers take every history that a conversation here can have, and are read whole, whichever way they are asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from roommate.agent.provider_model import ProviderModel
from roommate.agent.stream_assembly import CUT_OFF
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
from roommate.net import outbound_http
from tests.agent.conversations import conversations
from tests.agent.test_provider_model import QUICK
from tests.patience import PATIENCE
from tests.strict_providers import StrictProviders
from tests.strict_replies import SIGNATURE, Out

ALICE = UserId("@alice:x.org")
SPECS = [ToolSpec(name, "Does.", {"type": "object", "properties": {}}) for name in ("run_command", "read_file")]
TWO = (("run_command", {"command": "ls"}), ("read_file", {"path": "ä.txt"}))


class Asked(NamedTuple):
    """How a provider is asked: by which model's name, where its stand-in is, with which parameters, by which wire."""

    model: str
    base: str
    params: Mapping[str, object] = MappingProxyType({})
    own: bool = False


CLAUDE = Asked("openrouter/anthropic/claude-sonnet-4.5", "/openrouter", {"reasoning_effort": "low"})
CHAT = Asked("openai/gpt-4.1", "/v1")
DEEPSEEK = Asked("deepseek/deepseek-reasoner", "/deepseek")
WAYS = {
    "anthropic": Asked("anthropic/claude-sonnet-4-5", "", {"reasoning_effort": "low"}),
    "gemini": Asked("gemini/gemini-2.5-flash", "/v1beta"),
    "responses": Asked("openai/responses/gpt-5-codex", "/v1"),
    "ollama": Asked("ollama/qwen3", ""),
    "openai": CHAT._replace(own=True),
    "openai-litellm": CHAT,
    "openrouter": CLAUDE._replace(own=True),
    "openrouter-litellm": CLAUDE,
    "deepseek": DEEPSEEK._replace(own=True),
    "deepseek-litellm": DEEPSEEK,
}
SIGNING = ("anthropic", "gemini", "openrouter", "openrouter-litellm")
"""Their thoughts are signed, and a call of the running turn without its signature is refused."""
_CHAT = {"stop": "", "length": "length", "content_filter": "content_filter"}
STOPS = {
    "anthropic": {"end_turn": "", "stop_sequence": "", "pause_turn": "", "max_tokens": "length",
                  "model_context_window_exceeded": "length", "refusal": "content_filter"},
    "gemini": {"STOP": "", "MAX_TOKENS": "length", **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content_filter")},
    "responses": {"": "", "max_output_tokens": "length", "content_filter": "content_filter"},
    "ollama": {"stop": "", "length": "length", "load": "", "unload": ""},
}  # fmt: skip
"""Why a reply may end, in the provider's words, and what people are told of it (`CUT_OFF`)."""


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


@contextlib.asynccontextmanager
async def opened(name: str, server: StrictProviders) -> AsyncIterator[Way]:
    asked, session = WAYS[name], outbound_http.LazySession()
    model = ProviderModel(
        asked.model,
        api_key="k",
        api_base=server.url + asked.base,
        timeout=PATIENCE,
        patience=QUICK,
        params=asked.params,
        sees=not name.startswith("deepseek"),
        session=session if asked.own else None,
    )
    try:
        yield Way(name, server, model, [])
    finally:
        await session.close()


@pytest.fixture(params=list(WAYS))
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with StrictProviders() as server, opened(request.param, server) as way:
        yield way


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
    for cut in (0, 0.1, 0.3, 0.5, 0.7, 0.9):
        way.events.clear()
        way.server.cut = cut
        reply = await way.ask([Prompt("look", ALICE)])
        assert (reply.text, way.shown) == (whole.text, whole.text)
        assert [(call.name, call.arguments) for call in reply.calls] == [(c.name, c.arguments) for c in whole.calls]


async def test_a_reply_says_why_it_ended_where_that_is_not_its_own_end(way: Way) -> None:
    for word, told in STOPS.get(way.name, _CHAT).items():
        way.server.replies = (Out("half a sen", stop=word),)
        way.server.asked.clear()
        reply = await way.ask([Prompt("write", ALICE)])
        assert (word, reply.text) == (word, "half a sen" + CUT_OFF.get(told, ""))
        assert len(way.server.asked) == 1


async def test_a_picture_and_300_rounds_of_the_running_turn_are_taken(way: Way) -> None:
    way.server.replies = (Out("", TWO[:1], "Let me look."), Out("Done."))
    history: list[Step] = [Prompt("go", ALICE)]
    first = await way.ask(history)
    [call] = first.calls
    for number in range(300):
        picture = Picture("image/png", b"\x89PNG") if number == 299 else None
        own = ToolCall(
            f"{number}{call.id}"[:40] if "__thought__" not in call.id else f"{number}{call.id}", call.name, "{}"
        )
        history += [Answer("", (own,), first.thought), ToolResult(own.id, "out", picture=picture)]
    assert (await way.ask(history)).text == "Done."
    sent = json.dumps(way.server.asked[-1])
    assert way.model.sees == (base64.b64encode(b"\x89PNG").decode() in sent)
    assert sent.count(SIGNATURE) >= 300 or way.name not in SIGNING


async def test_a_turn_that_another_model_began_goes_on(way: Way) -> None:
    """As a fallback does it, and a restart with another LLM_MODEL."""
    way.server.replies = (Out("Done."),)
    foreign = Thought("another/model", {"reasoning_content": "secret thought", "thinking_blocks": [
        {"type": "thinking", "thinking": "secret thought", "signature": "c2ln"}]})  # fmt: skip
    calls = (ToolCall("call_1__thought__c2ln", "run_command", "{}"), ToolCall("call_2", "read_file", "{}"))
    results = [ToolResult(one.id, "ok") for one in calls]
    begun: list[Step] = [Prompt("look", ALICE), Answer("I look.", calls, foreign), *results]
    assert (await way.ask(begun)).text == "Done."
    assert "secret thought" not in f"{way.server.asked}"


async def test_a_conversation_goes_from_one_protocol_to_the_next_and_back_with_no_thought_of_another() -> None:
    async with StrictProviders() as server:
        history: list[Step] = [Prompt("look", ALICE)]
        for turn, name in enumerate([*WAYS, *reversed(WAYS)]):
            async with opened(name, server) as way:
                mine = WAYS[name].model
                server.replies = (Out(f"I look {turn}.", TWO, f"Thought {turn} of {mine}."), Out(f"Done {turn}."))
                server.asked.clear()
                for text in (f"I look {turn}.", f"Done {turn}."):
                    reply = await way.ask(history)
                    assert reply.text == text
                    history = answered(history, reply)
            sent = f"{server.asked}"
            assert not [one.model for one in WAYS.values() if one.model != mine and f"of {one.model}." in sent]
            assert name in SIGNING or SIGNATURE not in sent
            assert f"Done {turn - 1}." in sent or not turn, "all that was said goes with it"
            history.append(Prompt("and now?", ALICE))


async def test_what_another_model_thought_is_not_sent(way: Way) -> None:
    way.server.replies = (Out("Done."),)
    foreign = Thought("openrouter/x", {"reasoning_details": [{"type": "reasoning.text", "text": "secret thought"}]})
    await way.ask([Prompt("a", ALICE), Answer("b", (), foreign), Prompt("c", ALICE)])
    assert "secret thought" not in f"{way.server.asked}"


@settings(max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(conversation=conversations)
def test_every_history_is_taken(conversation: tuple[list[Step], ...]) -> None:
    steps = [step for turn in conversation for step in turn]
    while isinstance(steps[-1], Answer):
        steps.pop()
    # A call of the running turn that Gemini signed has its signature; ours here never came from it.
    if isinstance(steps[-1], ToolResult):
        steps += [Answer("so far"), Prompt("go on", ALICE)]

    async def ask() -> None:
        async with StrictProviders(Out("ok")) as server:
            for name in WAYS:
                async with opened(name, server) as way:
                    assert (await way.ask(steps)).text == "ok"

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
