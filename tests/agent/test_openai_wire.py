"""What our own wire does beside what both ways must (test_provider_model): thoughts, prices, caches, odd servers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from roommate.agent import model_facts
from roommate.agent.openai_wire import cached_to_here
from roommate.agent.own_wire_or_litellm import own_route
from roommate.agent.provider_model import ProviderModel
from roommate.agent.wire import Counts
from roommate.domain import (
    Answer,
    Event,
    Prompt,
    Reply,
    Step,
    TextDelta,
    TextDropped,
    Thinking,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserId,
)
from roommate.errors import ModelBusy
from roommate.net import outbound_http
from roommate.store import codec
from tests.agent.test_provider_model import QUICK
from tests.patience import PATIENCE
from tests.scripted_model import Action, Call, Delta, Finish, Line, NoTokens, ScriptedModel, Status, Text, Tokens

ALICE = UserId("@alice:x.org")
HI: list[Step] = [Prompt("hi", ALICE)]
SPECS = [ToolSpec("run_command", "Run a command.", {"type": "object", "properties": {}})]
DETAILS = [
    [{"type": "reasoning.text", "index": 0, "text": "Let me "}],
    [{"type": "reasoning.text", "index": 0, "text": "look."}],
    [{"type": "reasoning.text", "index": 0, "signature": "c2ln", "format": "anthropic-v1"}],
    [{"type": "reasoning.encrypted", "index": 1, "data": "QUJD"}],
]
WHOLE = [
    {
        "type": "reasoning.text",
        "index": 0,
        "text": "Let me look.",
        "signature": "c2ln",
        "format": "anthropic-v1",
    },
    {"type": "reasoning.encrypted", "index": 1, "data": "QUJD"},
]


class Wired:
    def __init__(self, server: ScriptedModel, session: outbound_http.LazySession) -> None:
        self.server, self.session = server, session
        self.events: list[Event] = []

    def model(self, name: str = "openai/scripted", **more: Any) -> ProviderModel:
        given = {"api_key": "sk-x", "api_base": self.server.url, "timeout": PATIENCE, "patience": QUICK}
        return ProviderModel(name, session=self.session, **{**given, **more})

    async def ask(self, model: ProviderModel | None = None, history: Sequence[Step] = HI) -> Reply:
        return await (model or self.model()).reply("Be brief.", history, SPECS, self.events.append)

    def does(self, *replies: Sequence[Action]) -> None:
        self.server.rules = lambda _: replies[min(len(self.server.asked), len(replies)) - 1]

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.server.asked[-1].messages


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    session = outbound_http.LazySession()
    async with ScriptedModel() as server:
        yield Wired(server, session)
        await session.close()


# ── Thoughts ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_a_provider_wants_back_of_its_thoughts_goes_back_as_it_came(wired: Wired) -> None:
    call = Call("run_command", "{}", "call_1")
    wired.does([*(Delta({"reasoning_details": one}) for one in DETAILS), Delta({"reasoning_content": "Hm"}),
                Delta({"reasoning_content": "m."}), call], [Text("done")])  # fmt: skip
    model = wired.model()
    reply = await wired.ask(model)
    assert reply.text == ""
    assert [event.text for event in wired.events if isinstance(event, Thinking)] == ["Hm", "m."]
    answered = [*HI, Answer(reply.text, reply.calls, reply.thought), ToolResult("call_1", "ok")]
    await wired.ask(model, answered)
    assert wired.sent[2]["reasoning_details"] == WHOLE
    assert wired.sent[2]["reasoning_content"] == "Hmm."
    # Another model gets none of it; its own it gets with every later turn, too: DeepSeek refuses a call without.
    await wired.ask(wired.model("openai/another"), answered)
    assert not {"reasoning_details", "reasoning_content"} & wired.sent[2].keys()
    await wired.ask(model, [*answered, Answer("done"), Prompt("more", ALICE)])
    assert wired.sent[2]["reasoning_details"] == WHOLE
    assert wired.sent[2]["reasoning_content"] == "Hmm."


async def test_thoughts_of_any_form_can_be_stored_and_sent_back(wired: Wired) -> None:
    """Some servers cut an emoji in two; what could not be stored ended the daemon with the turn's last answer."""
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    odd = [{"type": "reasoning.text", "index": 0, "text": "a\ud800b", "\udc00": deep, "score": float("nan")}]
    wired.does([Delta({"reasoning_content": "hm \ud83d"}), Delta({"reasoning_content": "\ude00"}),
                Delta({"reasoning_details": odd}), Text("hello")], [Text("again")])  # fmt: skip
    model = wired.model()
    reply = await wired.ask(model)
    answer = Answer(reply.text, reply.calls, reply.thought)
    stored = codec.decode("Answer", codec.encode(answer).encode().decode())
    assert stored.thought.fields["reasoning_content"] == "hm \N{GRINNING FACE}"
    assert stored.thought.fields["reasoning_details"][0]["text"] == "a\ufffdb"
    assert "NaN" not in codec.encode(answer)
    for event in wired.events:
        assert json.dumps(str(event), ensure_ascii=False).encode()
    assert (await wired.ask(model, [*HI, stored, Prompt("more", ALICE)])).text == "again"


async def test_a_reply_that_its_provider_gave_up_is_asked_for_again(wired: Wired) -> None:
    wired.does([Text("half a"), Finish("error")], [Text("whole")])
    assert (await wired.ask()).text == "whole"
    assert [event for event in wired.events if isinstance(event, TextDropped)]


async def test_a_thought_between_tags_is_not_said(wired: Wired) -> None:
    wired.does([Text("<thi"), Text("nk>secret"), Text("</think>\n"), Text("\nhello")])
    assert (await wired.ask()).text == "hello"
    assert "".join(event.text for event in wired.events if isinstance(event, TextDelta)) == "hello"
    wired.events.clear()
    wired.does([Text("aloud\n</think>\n"), Text("hello")])
    assert (await wired.ask()).text == "hello"
    assert wired.events.index(TextDropped("")) < wired.events.index(TextDelta("hello"))


async def test_a_call_that_comes_as_text_is_a_call_and_said_once(wired: Wired) -> None:
    text = '<tool_call>{"name": "run_command", "arguments": {"command": "ls"}}</tool_call>'
    wired.does([Text("I look. "), Text(text)])
    model = wired.model()
    for told in (True, False):
        wired.events.clear()
        reply = await wired.ask(model)
        assert [(call.name, call.arguments) for call in reply.calls] == [("run_command", '{"command": "ls"}')]
        assert reply.calls[0].id
        assert reply.text == "I look."
        [dropped] = [event for event in wired.events if isinstance(event, TextDropped)]
        assert bool(dropped.why) == told


async def test_the_signature_of_another_protocol_is_taken_out_of_ids(wired: Wired) -> None:
    signed = "call_1__thought__QUJD"
    await wired.ask(None, [*HI, Answer("", (ToolCall(signed, "run_command", "{}"),)), ToolResult(signed, "ok")])
    assert wired.sent[2]["tool_calls"][0]["id"] == wired.sent[3]["tool_call_id"]
    assert "QUJD" not in f"{wired.sent}"


# ── What it takes, and what is known of it ───────────────────────────────────────────────────────


async def test_cached_tokens_are_priced_as_such(wired: Wired) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 800}}
    line = json.dumps({"id": "x", "choices": [], "usage": usage})
    wired.does([Text("x"), Line(f"data: {line}"), Tokens(0, 0)])
    reply = await wired.ask(wired.model("openai/gpt-4o-mini"))
    assert reply.usage.cost == pytest.approx(200 * 0.15e-6 + 800 * 0.075e-6 + 10 * 0.6e-6)


def test_long_prompts_cost_more_where_the_list_says_so() -> None:
    prices = {
        "input_cost_per_token": 1.0,
        "output_cost_per_token": 2.0,
        "input_cost_per_token_above_200k_tokens": 3.0,
        "output_cost_per_token_above_200k_tokens": 4.0,
    }
    facts = model_facts.Facts(prices=prices)
    assert facts.cost(Counts(1000, 10)) == 1020
    assert facts.cost(Counts(300_000, 10)) == 900_040
    assert model_facts.UNKNOWN.cost(Counts(1000, 10)) is None


@pytest.mark.parametrize("told", [{"context_length": 200_000}, {"max_model_len": 200_000}])
async def test_what_no_list_knows_the_endpoint_says_itself(wired: Wired, told: dict[str, Any]) -> None:
    seen = {"architecture": {"input_modalities": ["text", "image"]}, "top_provider": {"max_completion_tokens": 8000}}
    wired.server.models = [{"id": "other"}, {"id": "new/model", **told, **seen}]
    model = wired.model("hosted_vllm/new/model")
    await model.load()
    assert 185_000 < model.context_tokens <= 192_000
    assert model.sees


@pytest.mark.parametrize(
    "told",
    [
        {"architecture": "llama"},
        {"top_provider": "me"},
        {"context_length": [1]},
        {"context_length": float("inf")},
        {"architecture": {"input_modalities": None}},
    ],
)
async def test_a_list_of_models_that_is_odd_is_no_reason_not_to_ask(wired: Wired, told: dict[str, Any]) -> None:
    wired.server.models = [{"id": "new/model", **told}]
    wired.does([Text("hello")])
    assert (await wired.ask(wired.model("hosted_vllm/new/model"))).text == "hello"


@pytest.mark.parametrize(
    "usage",
    [
        '"none"',
        "[1]",
        '{"prompt_tokens": "12", "completion_tokens": null}',
        '{"prompt_tokens": 1e400, "completion_tokens": -5}',
        '{"prompt_tokens": 1000000000000000000000000000000, "completion_tokens": 5}',
        '{"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "x"}}',
        '{"prompt_tokens": 12, "completion_tokens": 5, "cost": NaN}',
        '{"prompt_tokens": 12, "completion_tokens": 5, "cost": 1e400}',
        '{"prompt_tokens": 12, "completion_tokens": 5, "cost": -1}',
    ],
)
async def test_counts_that_cannot_be_neither_break_a_reply_nor_are_believed(wired: Wired, usage: str) -> None:
    wired.does([Line(f'data: {{"id": "x", "choices": [], "usage": {usage}}}'), Text("hello"), NoTokens()])
    reply = await wired.ask()
    assert reply.text == "hello"
    assert len(wired.server.asked) == 1
    spent = reply.usage
    for count in (spent.input_tokens, spent.output_tokens, spent.cached_tokens):
        assert type(count) is int
        assert 0 <= count < 1 << 40
    assert spent.cost is None or 0 <= spent.cost < 1


async def test_openrouter_gets_marks_for_its_caches_and_says_the_price(wired: Wired) -> None:
    wired.does([Text("x"), Line('data: {"choices": [], "usage": {"prompt_tokens": 9, "cost": 0.25}}')])
    reply = await wired.ask(wired.model("openrouter/anthropic/claude-new"))
    assert reply.usage.cost == 0.25
    body = wired.server.asked[-1].body
    assert body["model"] == "anthropic/claude-new"
    assert body["usage"] == {"include": True}
    marked = {"cache_control": {"type": "ephemeral"}}
    assert [message["content"][-1].get("cache_control") for message in body["messages"]] == [*marked.values()] * 2
    await wired.ask(wired.model("openrouter/mistralai/some"))
    assert isinstance(wired.sent[0]["content"], str)


def test_marks_leave_the_history_as_it_is() -> None:
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    before = json.dumps(messages)
    assert [one["content"][0]["text"] for one in cached_to_here(messages)] == ["a", "b"]
    assert json.dumps(messages) == before
    assert cached_to_here([]) == []


async def test_more_fields_of_a_request_are_the_operators(wired: Wired) -> None:
    await wired.ask(wired.model(params={"temperature": 0.2, "reasoning_effort": "low"}))
    assert (wired.server.asked[0].body["temperature"], wired.server.asked[0].body["reasoning_effort"]) == (0.2, "low")


# ── Odd servers ──────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_does_not_stream_is_read(wired: Wired) -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "whole"}]}
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7}}
    wired.does([Status(200, body=json.dumps(body))])
    reply = await wired.ask()
    assert (reply.text, reply.usage.input_tokens) == ("whole", 7)


async def test_the_key_goes_to_no_other_host(wired: Wired) -> None:
    async with ScriptedModel() as elsewhere:
        wired.does([Status(307, headers={"Location": f"{elsewhere.url}/chat/completions"})])
        with pytest.raises(Exception, match="307"):
            await wired.ask()
        assert not elsewhere.asked


async def test_a_line_without_an_end_does_not_fill_the_memory(wired: Wired) -> None:
    wired.does([Line(": " + "x" * (9 << 20))])
    with pytest.raises(ModelBusy, match="too long"):
        await wired.ask()


# ── Who goes which way ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "base", "way"),
    [
        ("openai/gpt-4o-mini", "", ("openai", "gpt-4o-mini", "https://api.openai.com/v1")),
        ("gpt-4o-mini", "", ("openai", "gpt-4o-mini", "https://api.openai.com/v1")),
        ("openrouter/anthropic/claude-x", "", ("openrouter", "anthropic/claude-x", "https://openrouter.ai/api/v1")),
        ("deepseek/deepseek-chat", "", ("deepseek", "deepseek-chat", "https://api.deepseek.com/v1")),
        ("openai/mine", "http://127.0.0.1:8000/v1", ("openai", "mine", "http://127.0.0.1:8000/v1")),
        ("mine", "http://127.0.0.1:8000/v1", ("openai", "mine", "http://127.0.0.1:8000/v1")),
        ("org/mine", "http://127.0.0.1:8000/v1", ("openai", "org/mine", "http://127.0.0.1:8000/v1")),
        ("hosted_vllm/org/mine", "http://127.0.0.1:8000/v1", ("hosted_vllm", "org/mine", "http://127.0.0.1:8000/v1")),
        ("hosted_vllm/mine", "", None),
        ("openai/gpt-5-codex", "", None),  # speaks the Responses API alone
        ("anthropic/claude-sonnet-4-5", "", None),
        ("anthropic/claude-sonnet-4-5", "http://127.0.0.1:8000", None),
        ("gemini/gemini-2.5-flash", "", None),
        ("ollama_chat/qwen3", "http://127.0.0.1:11434", None),
        ("gpt-foo", "", None),
    ],
)
def test_the_way_of_a_model(name: str, base: str, way: tuple[str, str, str] | None) -> None:
    route = own_route(name, "sk-x", base, {})
    assert (route and (route.provider, route.model, route.base)) == way


def test_what_openai_takes_no_tools_beside_goes_by_litellm() -> None:
    assert own_route("openai/gpt-5", "sk-x", "", {"reasoning_effort": "low"}) is None


PROGRAM = """
import asyncio, sys
from roommate.agent.provider_model import ProviderModel
from roommate.domain import Prompt, UserId
from roommate.net import outbound_http

async def main():
    session = outbound_http.LazySession()
    model = ProviderModel("openai/gpt-4o-mini", api_key="sk-x", api_base=sys.argv[1], session=session)
    reply = await model.reply("", [Prompt("SAY x", UserId("@a:x"))], [], lambda event: None)
    await session.close()
    print(reply.text, reply.usage.cost > 0, "litellm" in sys.modules)

asyncio.run(main())
"""


async def test_litellm_is_not_imported_where_it_is_not_needed(wired: Wired) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "default", "-c", PROGRAM, wired.server.url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "x True False\n", "")
