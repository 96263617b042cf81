"""The model port over HTTP: streams, tool calls, every kind of failure, and the end of a connection."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from roommate.agent.openai_wire import Session
from roommate.agent.provider_model import NOTHING_SAID, Patience, ProviderModel
from roommate.domain import (
    Answer,
    Event,
    Model,
    Note,
    Picture,
    Prompt,
    Reply,
    Step,
    TextDelta,
    TextDropped,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserId,
)
from roommate.errors import ModelAuth, ModelBusy, ModelContext, ModelError, ModelRefused
from roommate.net import outbound_http
from tests.fake_providers import FakeProviders
from tests.patience import PATIENCE
from tests.scripted_model import (
    Action,
    Asked,
    Call,
    Delay,
    Delta,
    Drop,
    Finish,
    Line,
    NoTokens,
    ScriptedModel,
    Stall,
    Status,
    Text,
    Tokens,
)

KEY = "sk-test-0123456789abcdef"
QUICK = Patience(first_wait=0.01)
SPECS = [
    ToolSpec("run_command", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}}),
    ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}}),
]


class Talk:
    """A scripted provider, a model that asks it, and what the model emitted."""

    def __init__(self, server: ScriptedModel, session: Session | None) -> None:
        self.server = server
        self.session = session
        self.events: list[Event] = []

    def model(self, **more: Any) -> ProviderModel:
        given: dict[str, Any] = {
            "name": "openai/scripted",
            "api_key": KEY,
            "api_base": self.server.url,
            "session": self.session,
        }
        return ProviderModel(**{**given, "timeout": 5, "patience": QUICK, **more})

    async def ask(self, text: str = "hi", model: Model | None = None) -> Reply:
        history: list[Step] = [Prompt(text, UserId("@alice:x.org"))]
        return await (model or self.model()).reply("You are Roommate.", history, SPECS, self.events.append)

    def does(self, *replies: Iterable[Action]) -> None:
        """The n-th request gets the n-th reply, all later ones the last."""
        scripts = [list(reply) for reply in replies]
        self.server.rules = lambda _: scripts[min(len(self.server.asked), len(scripts)) - 1]

    @property
    def streamed(self) -> str:
        """What a person saw in the end."""
        shown = ""
        for event in self.events:
            if isinstance(event, TextDropped):
                shown = ""
            elif isinstance(event, TextDelta):
                shown += event.text
        return shown

    async def left(self) -> Asked:
        """The last request, once the server has seen its client leave."""
        async with asyncio.timeout(PATIENCE):
            while not self.server.asked or not self.server.asked[-1].ended:
                await asyncio.sleep(0.005)
        return self.server.asked[-1]


@pytest.fixture(params=["our own wire", "LiteLLM"])
async def talk(request: pytest.FixtureRequest) -> AsyncIterator[Talk]:
    """Both ways keep the same promises."""
    session = outbound_http.LazySession(at_once=0)
    async with ScriptedModel() as server:
        yield Talk(server, session if request.param == "our own wire" else None)
        await session.close()


# ── What a provider is asked, and what comes back ────────────────────────────────────────────────


async def test_text_is_streamed_as_it_comes(talk: Talk) -> None:
    reply = await talk.ask("SAY one two\nDELAY 0.01\nSAY three")
    assert reply.text == talk.streamed == "one two\nthree"
    assert talk.events[:2] == [TextDelta("one "), TextDelta("two")]


async def test_the_first_word_is_there_before_the_last(talk: Talk) -> None:
    asking = asyncio.create_task(talk.ask("SAY first\nSTALL", talk.model(timeout=60)))
    async with asyncio.timeout(PATIENCE):
        while not talk.events:
            await asyncio.sleep(0.005)
    assert talk.events == [TextDelta("first")]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_the_request_is_openais_and_nothing_else(talk: Talk) -> None:
    await talk.ask("SAY x")
    asked = talk.server.asked[0]
    assert asked.body["stream_options"] == {"include_usage": True}
    assert [tool["function"]["name"] for tool in asked.body["tools"]] == ["run_command", "read_file"]
    assert set(asked.body) == {"model", "messages", "tools", "stream", "stream_options"}
    assert asked.body["model"] == "scripted"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert [message["role"] for message in asked.messages] == ["system", "user"]


@pytest.mark.parametrize(
    "text",
    [
        "ünï ❤ 漢字 👩‍💻",
        "a\u2028b\u2029c\u0085d\x0be\x1cf",
        "data: [DONE]\n\n[DONE]",
        '{"choices": []}',
        "</s> <|end|>",
        "a\r\nb",
    ],
)
async def test_any_text_arrives_as_it_was_sent(talk: Talk, text: str) -> None:
    talk.does([Text(text), Text(text)])
    assert (await talk.ask()).text == talk.streamed == text * 2


async def test_a_megabyte_arrives_whole(talk: Talk) -> None:
    reply = await talk.ask("FILL 1000000")
    assert len(reply.text) == 1_000_000
    assert talk.streamed == reply.text
    assert len(set(reply.text.splitlines())) == 2


async def test_parallel_calls_keep_their_arguments_as_written(talk: Talk) -> None:
    reply = await talk.ask('SAY on it\nTOOL run_command {"command": "ls"}\nTOOL read_file {"path": \nTOOL nothing [1]')
    assert reply.text == "on it"
    assert [(call.name, call.arguments) for call in reply.calls] == [
        ("run_command", '{"command": "ls"}'),
        ("read_file", '{"path":'),
        ("nothing", "[1]"),
    ]
    assert len({call.id for call in reply.calls}) == 3


def call(**parts: Any) -> Delta:
    return Delta({"tool_calls": [parts]})


@pytest.mark.parametrize(
    "deltas",
    [
        [
            call(id="a", type="function", function={"name": "run_command", "arguments": '{"n": 1}'}),
            call(id="b", type="function", function={"name": "read_file", "arguments": '{"n": 2}'}),
        ],
        [
            Delta(
                {
                    "tool_calls": [
                        {"id": "a", "function": {"name": "run_command", "arguments": '{"n": 1}'}},
                        {"id": "a", "function": {"name": "read_file", "arguments": {"n": 2}}},
                    ]
                }
            )
        ],
        [
            call(index=0, id="", function={"name": "run_command", "arguments": ""}),
            call(index=0, function={"arguments": '{"n"'}),
            call(index=0, id="late", function={"arguments": ": 1}"}),
            call(index=1, function={"name": "read_", "arguments": ""}),
            call(index=1, function={"name": "file", "arguments": '{"n": 2}'}),
        ],
    ],
    ids=["without an index", "at once, equal ids", "late ids, names in parts"],
)
async def test_calls_as_other_providers_stream_them(talk: Talk, deltas: Sequence[Delta]) -> None:
    talk.does(deltas)
    reply = await talk.ask()
    found = [(call.name, json.loads(call.arguments)) for call in reply.calls]
    assert found == [("run_command", {"n": 1}), ("read_file", {"n": 2})]
    assert len({call.id for call in reply.calls}) == 2


@pytest.mark.parametrize(
    "odd",
    [
        Line(": OPENROUTER PROCESSING"),
        Line('data: {"id": "x", "choices": []}'),
        Delta({"reasoning_content": "Let me think."}),
        Delta({"content": None}),
        Delta({"role": "assistant", "content": ""}),
    ],
)
async def test_what_is_not_part_of_the_reply_is_passed_over(talk: Talk, odd: Action) -> None:
    talk.does([odd, Text("a"), odd, Text("b"), odd])
    assert (await talk.ask()).text == "ab"


@pytest.mark.parametrize("end", [[Finish(None)], [Finish(None), NoTokens()], [Finish("eos")]])
async def test_a_stream_may_end_without_the_usual_words(talk: Talk, end: Sequence[Action]) -> None:
    talk.does([Text("a"), Text("b"), *end])
    assert (await talk.ask()).text == "ab"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_reply_that_was_cut_off_says_so(talk: Talk, reason: str) -> None:
    reply = await talk.ask(f"SAY half a sen\nFINISH {reason}")
    assert reply.text == talk.streamed
    assert reply.text.startswith("half a sen\n\n(The ")


async def test_an_empty_reply_is_asked_for_once_more(talk: Talk) -> None:
    talk.does([Tokens(100, 1)], [Text("here I am"), Tokens(100, 3)])
    reply = await talk.ask()
    assert reply.text == "here I am"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (200, 4)
    talk.does([])
    assert (await talk.ask()).text == NOTHING_SAID


async def test_tokens_and_cost_are_the_providers(talk: Talk) -> None:
    known = await talk.ask("SAY x\nUSAGE 1000 10", talk.model(name="openai/gpt-4o-mini"))
    assert (known.usage.input_tokens, known.usage.output_tokens) == (1000, 10)
    assert known.usage.cost == pytest.approx(1000 * 0.15e-6 + 10 * 0.6e-6)
    unknown = await talk.ask("SAY x\nUSAGE 1000 10")
    assert (unknown.usage.input_tokens, unknown.usage.cost) == (1000, None)
    talk.does([Text("four words of text"), NoTokens()])
    guessed = await talk.ask()
    assert guessed.usage.input_tokens > 20
    assert 4 <= guessed.usage.output_tokens <= 10


async def test_what_the_model_reads_is_looked_up_and_corrected_by_the_providers_counts(talk: Talk) -> None:
    model = talk.model()
    assert model.context_tokens < 32_768
    await (known := talk.model(name="openai/gpt-4o-mini")).load()
    assert 100_000 < known.context_tokens < 128_000
    set_by_hand = talk.model(name="openai/gpt-4o-mini", context_tokens=50_000)
    await set_by_hand.load()
    assert 47_000 < set_by_hand.context_tokens < 50_000
    before = model.context_tokens
    await talk.ask("SAY x" + "\n" * 4 + "talk " * 1000 + "\nUSAGE 5000 1", model)
    assert model.context_tokens < 0.5 * before


# ── Failures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (Status(401, f"Incorrect API key provided: {KEY}"), ModelAuth, 1),
        (Status(403, "Not in your country"), ModelAuth, 1),
        (Status(400, "maximum context length is 8192 tokens", "context_length_exceeded"), ModelContext, 1),
        (Status(413, "too large"), ModelContext, 1),
        (Status(400, f"bad temperature, {KEY}"), ModelRefused, 1),
        (Status(404, "no such model"), ModelRefused, 1),
        (Status(429, "check your plan and billing details", "insufficient_quota"), ModelRefused, 1),
        (Status(429, "slow down"), ModelBusy, 4),
        (Status(500, "oops"), ModelBusy, 4),
        (Status(503, body="<html><body>Service Unavailable</body></html>"), ModelBusy, 4),
    ],
)
async def test_an_http_error_ends_or_repeats(talk: Talk, status: Status, kind: type[ModelError], tries: int) -> None:
    talk.does([status])
    with pytest.raises(kind) as raised:
        await talk.ask()
    assert len(talk.server.asked) == tries
    line = str(raised.value)
    assert "\n" not in line
    assert KEY not in line
    assert "litellm" not in line.lower()
    assert talk.events == []


async def test_the_provider_says_how_long_to_wait(talk: Talk) -> None:
    talk.does([Status(429, headers={"Retry-After": "0.2"})], [Text("ok")])
    assert (await talk.ask()).text == "ok"
    first, second = talk.server.asked
    assert second.at - first.at >= 0.2


async def test_too_long_a_wait_is_not_waited_for(talk: Talk) -> None:
    talk.does([Status(429, "slow down", headers={"Retry-After": "3600"})])
    with pytest.raises(ModelBusy, match="3600 s"):
        await talk.ask()
    assert len(talk.server.asked) == 1


async def test_a_long_wait_is_told_to_the_room(talk: Talk) -> None:
    talk.does([Status(503, "overloaded")], [Text("ok")])
    await talk.ask(model=talk.model(patience=Patience(first_wait=0.01, silent_wait=0)))
    assert isinstance(talk.events[0], Note)
    assert "overloaded" in talk.events[0].text


@pytest.mark.parametrize(
    "end",
    [
        Drop(),
        Stall(),
        Line('data: {"error": {"message": "Overloaded", "code": 503}}'),
        Line('data: {"id": "x", "choices": null}'),
    ],
    ids=["cut", "silent", "an error in the stream", "not to be read"],
)
async def test_a_reply_that_breaks_off_begins_again(talk: Talk, end: Action) -> None:
    talk.does([Text("half "), Call("run_command", "{}"), end], [Text("the "), Text("whole")])
    reply = await talk.ask(model=talk.model(timeout=0.5))
    assert reply == Reply("the whole", (), reply.usage, reply.thought)
    assert [type(event) for event in talk.events] == [TextDelta, TextDropped, TextDelta, TextDelta]
    assert talk.streamed == "the whole"


async def test_silence_before_the_reply_counts_too(talk: Talk) -> None:
    talk.does([Delay(30), Status(500)], [Text("ok")])
    assert (await talk.ask(model=talk.model(timeout=0.3))).text == "ok"
    assert talk.server.asked[0].ended == "left"


async def test_a_slow_reply_is_not_a_silent_one(talk: Talk) -> None:
    pieces: list[Action] = [Text("a"), Delay(0.2)] * 4
    talk.does(pieces)
    assert (await talk.ask(model=talk.model(timeout=0.5))).text == "aaaa"


async def test_a_whole_reply_does_not_wait_for_its_counts_for_ever(talk: Talk) -> None:
    finish = '{"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
    talk.does([Text("ok"), Line(f"data: {finish}"), Stall()])
    assert (await talk.ask(model=talk.model(timeout=0.2))).text == "ok"
    assert len(talk.server.asked) == 1
    assert (await talk.left()).ended == "left"


async def test_nobody_at_home(talk: Talk) -> None:
    await talk.server.stop()
    with pytest.raises(ModelBusy, match=r"cannot be reached.*asked 4 times"):
        await talk.ask()


@pytest.mark.parametrize("name", ["gpt-foo", "nobody/knows"])
async def test_a_name_without_a_provider_is_said(talk: Talk, name: str) -> None:
    with pytest.raises(ModelRefused, match=f"the model is '{name}'"):
        await talk.ask(model=talk.model(name=name, api_base=""))
    assert (await talk.ask("SAY x", talk.model(name=name))).text == "x"
    assert talk.server.asked[0].body["model"] == name


# ── Connections ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "actions",
    [[Text("a"), Stall()], [Delay(30), Status(500)], [Text("a"), *[Delay(0.01), Text("b")] * 1000]],
    ids=["in mid-reply", "before the reply", "while it talks"],
)
async def test_a_cancelled_reply_closes_its_connection_at_once(talk: Talk, actions: Sequence[Action]) -> None:
    talk.does(actions)
    asking = asyncio.create_task(talk.ask())
    async with asyncio.timeout(PATIENCE):
        while not talk.server.asked:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await talk.left()).ended == "left"
    assert len(talk.server.asked) == 1


async def test_a_cancelled_wait_asks_no_more(talk: Talk) -> None:
    talk.does([Status(429)])
    asking = asyncio.create_task(talk.ask(model=talk.model(patience=Patience(first_wait=1.0))))
    async with asyncio.timeout(PATIENCE):
        while not talk.server.asked:
            await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    asked = len(talk.server.asked)  # once, but on a host that stood still in between
    await asyncio.sleep(1.1)
    assert len(talk.server.asked) == asked


async def test_a_cancel_at_any_moment_of_a_failing_request_ends_it(talk: Talk) -> None:
    """Also one that comes together with the bytes that LiteLLM waits for: Python 3.11's `wait_for` loses it."""
    talk.does([Status(400)])
    model = talk.model()
    with contextlib.suppress(ModelError):
        await talk.ask(model=model)
    looks = 0
    while True:
        looks += 1
        asking = asyncio.create_task(talk.ask(model=model))
        for _ in range(looks):
            await asyncio.sleep(0)
        if not asking.cancel():
            break
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert looks > 10
    with pytest.raises(ModelError):
        await asking


async def test_one_connection_serves_one_room_and_many_serve_many(talk: Talk) -> None:
    model = talk.model()
    for _ in range(5):
        await talk.ask("SAY x", model)
    assert talk.server.connections == 1
    replies = await asyncio.gather(*(talk.ask(f"DELAY 0.05\nSAY {n}", model) for n in range(20)))
    assert [reply.text for reply in replies] == [str(n) for n in range(20)]


# ── What LiteLLM must not do ─────────────────────────────────────────────────────────────────────

PROGRAM = """
import asyncio, os, sys
from roommate.agent.provider_model import ProviderModel
from roommate.domain import Prompt, ToolSpec, UserId

assert "litellm" not in sys.modules
tool = ToolSpec("run_command", "", {"type": "object", "properties": {}})
model = ProviderModel("openai/gpt-4o-mini", api_key="sk-x", api_base=sys.argv[1])
reply = asyncio.run(model.reply("", [Prompt("TOOL run_command {}", UserId("@a:x"))], [tool], lambda event: None))
assert reply.calls and reply.usage.cost, reply
heavy = {"mcp", "tiktoken_ext.openai_public", "openai.resources", "litellm.proxy.proxy_server", "boto3", "fastapi"}
print(sorted(heavy & set(sys.modules)), os.environ.get("SECRET_OF_ENV_FILE"))
"""


async def test_litellm_is_late_quiet_and_light_and_leaves_the_environment_alone(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_OF_ENV_FILE=it is loaded\n")
    run: Callable[..., Any] = subprocess.run
    done = await asyncio.to_thread(
        run,
        [sys.executable, "-c", PROGRAM, talk.server.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] None\n", "")


HASTY = """
import asyncio, atexit, sys
from roommate.agent.provider_model import ProviderModel

async def main():
    loading = asyncio.create_task(ProviderModel("openai/m").load())
    while "litellm" not in sys.modules:
        await asyncio.sleep(0.01)
    loading.cancel()

asyncio.run(main())
print(hasattr(sys.modules["litellm"], "acompletion"))
"""


async def test_the_end_of_the_process_does_not_wait_for_the_import() -> None:
    run: Callable[..., Any] = subprocess.run
    done = await asyncio.to_thread(run, [sys.executable, "-c", HASTY], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────


PNG = Picture("image/png", b"\x89PNG not really")
URI = "data:image/png;base64," + base64.b64encode(PNG.content).decode()


@pytest.mark.parametrize(
    ("name", "base", "form"),
    [
        ("openai/gpt-4o", "/v1", {"type": "image_url", "image_url": {"url": URI}}),
        (
            "anthropic/claude-sonnet-4-5",
            "",
            {"type": "base64", "media_type": "image/png", "data": URI.partition(",")[2]},
        ),
        ("gemini/gemini-2.5-flash", "/v1beta", {"mime_type": "image/png", "data": URI.partition(",")[2]}),
    ],
)
async def test_each_provider_gets_a_picture_as_it_wants_it(name: str, base: str, form: dict[str, Any]) -> None:
    call = ToolCall("call_1", "take_screenshot", "{}")
    history: list[Step] = [
        Prompt("show", UserId("@alice:x.org")),
        Answer("", (call,)),
        ToolResult(call.id, "a page", picture=PNG),
    ]
    async with FakeProviders() as providers:
        model = ProviderModel(name, api_key=KEY, api_base=f"{providers.url}{base}", timeout=5, patience=QUICK)
        await model.reply("You are Roommate.", history, SPECS, lambda _: None)
    assert model.sees
    [asked] = providers.asked
    assert form in list(_objects(asked.body))


def test_who_is_asked_whether_it_sees() -> None:
    assert not ProviderModel("openai/gpt-4o").sees, "it is not known yet"
    assert ProviderModel("openai/own-model", sees=True).sees


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)
