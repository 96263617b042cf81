"""A model over HTTP that does what a script says: OpenAI's chat completions, as strict as the strictest provider.

A test gives it rules in Python (`ScriptedModel(rules)`), or a person writes the script into the chat itself. Then the
last user message is the script; lines of ``---`` divide it into rounds, and each other line is one action::

    SAY hello there            text, streamed word by word; as a JSON string it may hold line breaks
    FILL 1000000               that many characters of text
    TOOL read_file {"path":…}  a tool call; the arguments go out as they stand here, JSON or not
    ECHO                       text: the results of the calls before this round
    DELAY 0.2                  silence, in seconds
    GATE name                  silence, until the test calls ``model.open("name")``
    STATUS 429 2 retry-after=0 an HTTP error in place of a reply, the first 2 times this history is asked, or always
    DROP                       the connection is cut
    STALL                      the connection stays, nothing comes any more
    FINISH length              the finish reason, where it is not the usual one
    USAGE 1200 34              the token counts, where they are not an estimate

The round is the number of assistant messages behind the last user message, so the script goes on where it was after
the asking daemon was killed. A message without any such line is answered with ``echo: …``; behind the last round comes
``done``.

Alone: ``python -m tests.scripted_model 8099`` listens on that port of the loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

# ── What a reply can be made of ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Text:
    """One piece of text, in one chunk."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as OpenAI streams it: id and name first, then the arguments in pieces of `piece` characters."""

    name: str
    arguments: str
    id: str = ""
    """Made up where it is empty."""
    piece: int = 24


@dataclass(frozen=True, slots=True)
class Delta:
    """One chunk whose ``delta`` is exactly this: for everything that providers do wrong."""

    delta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the event stream, exactly as given."""

    line: str


@dataclass(frozen=True, slots=True)
class Delay:
    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Nothing comes until `open` was called with this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP error in place of a reply: OpenAI's error object around `message`, or `body` as it stands."""

    code: int
    message: str = "scripted error"
    error_code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is cut in the middle of a chunk."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing comes any more, until the client leaves."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The finish reason; None leaves it out, as some providers do."""

    reason: str | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token counts; None instead of this action would be an estimate."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class NoTokens:
    """No usage is sent, as some providers do."""


Action = Text | Call | Delta | Line | Delay | Gate | Status | Drop | Stall | Finish | Tokens | NoTokens


@dataclass(slots=True)
class Asked:
    """One request, and what became of it. Times are seconds of the monotonic clock."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    at: float
    nth: int
    """How often exactly this history has been asked, this time included."""
    first_byte_at: float | None = None
    ended_at: float | None = None
    ended: str = ""
    """``whole``, ``refused`` (an HTTP error), ``cut`` (by the script) or ``left`` (by the client, in mid-reply)."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @property
    def pictures(self) -> list[str]:
        """The pictures that came along, as data URIs."""
        return [uri for message in self.messages for uri in _pictures(message)]

    @property
    def talk(self) -> list[dict[str, Any]]:
        """The messages without pictures of tools: each comes as a user's, behind a word of the model's that it looks,
        and is no prompt."""
        talk: list[dict[str, Any]] = []
        for message in self.messages:
            if _pictures(message) and _text(talk[-1]).startswith("(I look"):
                talk.pop()
            else:
                talk.append(message)
        return talk

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return next((_text(message) for message in reversed(self.talk) if message["role"] == "user"), "")

    @property
    def round(self) -> int:
        """How many replies this prompt has had."""
        last_user = max((n for n, message in enumerate(self.talk) if message["role"] == "user"), default=-1)
        return sum(message["role"] == "assistant" for message in self.talk[last_user + 1 :])

    @property
    def results(self) -> list[str]:
        """The texts of the tool results behind the last assistant message."""
        tail: list[str] = []
        for message in reversed(self.talk):
            if message["role"] != "tool":
                break
            tail.append(_text(message))
        return tail[::-1]


Rules = Callable[[Asked], Iterable[Action]]


# ── The script in the chat ───────────────────────────────────────────────────────────────────────

_VERBS = "SAY|FILL|TOOL|ECHO|DELAY|GATE|STATUS|DROP|STALL|FINISH|USAGE"
_LINE = re.compile(rf"(?P<verb>{_VERBS})(?: (?P<rest>.*))?")
_WHO = re.compile(rf"\A@?[^\s:]+(?::\S+)?: (?=(?:{_VERBS})\b)")
"""``alice: `` before a script: who wrote is part of the text when several people share a room."""


def from_chat(asked: Asked) -> Iterable[Action]:
    """The rules of the text protocol (see the module's docstring)."""
    script = _WHO.sub("", asked.prompt)
    lines = script.splitlines()
    if not any(_LINE.fullmatch(line.strip()) for line in lines):
        return _words(f"echo: {asked.prompt}")
    rounds: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == "---":
            rounds.append([])
        else:
            rounds[-1].append(line.strip())
    if asked.round >= len(rounds):
        return _words("done")
    actions: list[Action] = []
    said = False
    for line in rounds[asked.round]:
        if not (match := _LINE.fullmatch(line)):
            continue
        verb, rest = match["verb"], match["rest"] or ""
        if verb in ("SAY", "ECHO") and said:
            actions.append(Text("\n"))
        said = said or verb in ("SAY", "ECHO")
        actions.extend(_act(verb, rest, asked))
    return actions


def _act(verb: str, rest: str, asked: Asked) -> Iterable[Action]:
    match verb:
        case "SAY":
            return _words(json.loads(rest) if rest.startswith('"') else rest)
        case "FILL":
            return _filling(int(rest))
        case "TOOL":
            name, _, arguments = rest.partition(" ")
            return [Call(name, arguments)]
        case "ECHO":
            return [Text("\n".join(asked.results))]
        case "DELAY":
            return [Delay(float(rest))]
        case "GATE":
            return [Gate(rest)]
        case "STATUS":
            return _status(rest.split(), asked.nth)
        case "DROP":
            return [Drop()]
        case "STALL":
            return [Stall()]
        case "FINISH":
            return [Finish(rest)]
        case _:
            read, written = rest.split()
            return [Tokens(int(read), int(written))]


def _status(words: Sequence[str], nth: int) -> Iterable[Action]:
    times = next((int(word) for word in words[1:] if word.isdigit()), None)
    if times is not None and nth > times:
        return []
    headers = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    return [Status(int(words[0]), headers=headers)]


def _words(text: str) -> list[Action]:
    return [Text(piece) for piece in re.findall(r"\s*\S+\s*", text)] or [Text(text)]


def _filling(size: int, piece: int = 4096) -> list[Action]:
    line = "0123456789abcdef" * 4 + "\n"
    text = line * (size // len(line) + 1)
    return [Text(text[start : min(start + piece, size)]) for start in range(0, size, piece)]


# ── As strict as the strictest provider ──────────────────────────────────────────────────────────

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def what_is_wrong(body: Mapping[str, Any]) -> str | None:
    """Why a strict provider would refuse this request, or None. The rules are the union of several providers' own."""
    messages: list[dict[str, Any]] = body.get("messages") or []
    spoken = [message for message in messages if message["role"] != "system"]
    if not spoken or spoken[0]["role"] != "user":
        return "the first message must have the role 'user'"
    if [message["role"] for message in messages[: len(messages) - len(spoken)]] != ["system"] * (
        len(messages) - len(spoken)
    ):
        return "system messages must come first"
    if spoken[-1]["role"] not in ("user", "tool"):
        return "the last message must have the role 'user' or 'tool'"
    waiting: set[str] = set()
    seen: set[str] = set()
    before = "system"
    for message in spoken:
        role = message["role"]
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return f"a tool message answers {message.get('tool_call_id')!r}, which no call before it has as its id"
            waiting.discard(message["tool_call_id"])
        elif waiting:
            return f"an assistant message with tool_calls has no answers for {sorted(waiting)}"
        if role == "user" and before in ("user", "tool"):
            return f"a message of role 'user' must not follow one of role '{before}'"
        if role == "assistant":
            if before == "assistant":
                return "two messages of role 'assistant' follow each other"
            for call in message.get("tool_calls") or []:
                if problem := _call_problem(call, seen):
                    return problem
                seen.add(call["id"])
                waiting.add(call["id"])
        if not _text(message).strip() and not message.get("tool_calls"):
            return f"a message of role '{role}' has no content"
        if not _text(message).isprintable() and "\x00" in _text(message):
            return "a message holds a NUL"
        before = role
    if waiting:
        return f"an assistant message with tool_calls has no answers for {sorted(waiting)}"
    return None


def _call_problem(call: Mapping[str, Any], seen: set[str]) -> str | None:
    if not call.get("id") or call["id"] in seen:
        return f"tool call id {call.get('id')!r} is empty or not unique"
    if not _NAME.fullmatch(call["function"]["name"]):
        return f"tool name {call['function']['name']!r} does not match {_NAME.pattern}"
    try:
        arguments = json.loads(call["function"]["arguments"])
    except ValueError:
        return f"arguments of {call['id']} are not JSON"
    return None if isinstance(arguments, dict) else f"arguments of {call['id']} are not an object"


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _pictures(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content") or ""
    parts = [] if isinstance(content, str) else content
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


# ── The server ───────────────────────────────────────────────────────────────────────────────────


class ScriptedModel:
    """The server. As a context manager it listens while the block runs; `asked` holds every request, oldest first."""

    def __init__(self, rules: Rules = from_chat, *, key: str | None = None) -> None:
        """With a `key`, any other key is refused with 401."""
        self.rules = rules
        self.asked: list[Asked] = []
        self.models: list[dict[str, Any]] | None = None
        """What ``GET /v1/models`` lists; without any it is 404."""
        self.connections = 0
        """Connections that were ever opened: how a test sees that they are kept alive."""
        self._key = key
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._seen: Counter[str] = Counter()
        self._peers: set[Any] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """What a client takes as its API base."""
        return f"http://127.0.0.1:{self._port}/v1"

    def open(self, gate: str) -> None:
        """What waits for it goes on, now and ever after."""
        self._gates[gate].set()

    async def _hear(self, request: web.Request) -> web.Response:
        """A recording of this model says what stands in it; an empty one is none."""
        form = await request.post()
        recording = form["file"]
        assert isinstance(recording, web.FileField), form
        if not (said := recording.file.read().decode()):
            return web.json_response({"error": {"message": "audio file is too short"}}, status=400)
        return web.json_response({"text": said})

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/audio/transcriptions", self._hear)
        # handler_cancellation: a request whose client has left ends at once, so that a test can see when it left.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self._runner, self._port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _list(self, request: web.Request) -> web.Response:
        if self.models is None:
            return web.json_response({"error": {"message": "not found"}}, status=404)
        return web.json_response({"object": "list", "data": self.models})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fingerprint = json.dumps(body["messages"], sort_keys=True)
        self._seen[fingerprint] += 1
        asked = Asked(body, dict(request.headers), time.monotonic(), self._seen[fingerprint])
        self.asked.append(asked)
        if (peer := request.get_extra_info("peername")) not in self._peers:
            self._peers.add(peer)
            self.connections += 1
        try:
            return await self._reply(request, asked)
        except (ConnectionError, asyncio.CancelledError):
            asked.ended = "left"
            raise
        finally:
            asked.ended_at = time.monotonic()

    async def _reply(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        if self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}":
            return _refuse(asked, Status(401, "Incorrect API key provided", "invalid_api_key"))
        if problem := what_is_wrong(asked.body):
            return _refuse(asked, Status(400, problem, "invalid_request_error"))
        actions = list(self.rules(asked))
        early = next((action for action in actions if not isinstance(action, Delay)), None)
        if isinstance(early, Status):
            for action in actions[: actions.index(early)]:
                assert isinstance(action, Delay)
                await asyncio.sleep(action.seconds)
            return _refuse(asked, early)

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        async with contextlib.aclosing(_chunks(asked, actions, self._gates)) as chunks:
            async for chunk in chunks:
                if chunk is None:
                    asked.ended = "cut"
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                asked.first_byte_at = asked.first_byte_at or time.monotonic()
                await response.write(chunk)
        await response.write_eof()
        asked.ended = "whole"
        return response


async def _chunks(
    asked: Asked, actions: Sequence[Action], gates: Mapping[str, asyncio.Event]
) -> AsyncGenerator[bytes | None, None]:
    """The event stream, chunk by chunk; None is where the connection is to be cut."""
    reply_id = f"chatcmpl-{uuid.uuid4().hex}"
    calls = written = 0
    tokens: Tokens | None = Tokens(len(json.dumps(asked.body["messages"])) // 4, 0)
    reason: str | None = ""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk = {"id": reply_id, "object": "chat.completion.chunk", "created": 1, "model": asked.body["model"]}
        # Raw UTF-8, as OpenAI sends it; only what UTF-8 cannot say (half an emoji) stays an escape.
        text = json.dumps({**chunk, "choices": choices, **more}, ensure_ascii=False)
        return b"data: " + text.encode("utf-8", "backslashreplace") + b"\n\n"

    def delta(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": delta, "finish_reason": finish}])

    first = {"role": "assistant"}
    for action in actions:
        match action:
            case Text(text):
                yield delta({**first, "content": text})
                first = {}
                written += len(text)
            case Call(name, arguments, call_id, piece):
                begin = {"id": call_id or f"call_{uuid.uuid4().hex[:24]}", "type": "function"}
                function = {"name": name, "arguments": ""}
                yield delta({**first, "tool_calls": [{"index": calls, **begin, "function": function}]})
                first = {}
                for start in range(0, len(arguments), piece):
                    part = {"arguments": arguments[start : start + piece]}
                    yield delta({"tool_calls": [{"index": calls, "function": part}]})
                calls += 1
                written += len(arguments)
            case Delta(content):
                calls += bool(content.get("tool_calls"))
                yield delta(content)
            case Line(line):
                yield line.encode() + b"\n\n"
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Gate(name):
                await gates[name].wait()
            case Drop():
                yield None
                return
            case Stall():
                await asyncio.Event().wait()
            case Finish():
                reason = action.reason
            case Tokens():
                tokens = action
            case NoTokens():
                tokens = None
            case Status():
                raise AssertionError("an HTTP status cannot follow a part of the reply")
    if reason is not None:
        yield delta({}, reason or ("tool_calls" if calls else "stop"))
    if tokens and (asked.body.get("stream_options") or {}).get("include_usage"):
        output = tokens.output or written // 4 + 1
        counts = {"prompt_tokens": tokens.input, "completion_tokens": output, "total_tokens": tokens.input + output}
        yield event([], usage=counts)
    yield b"data: [DONE]\n\n"


def _refuse(asked: Asked, status: Status) -> web.Response:
    asked.ended = "refused"
    error = {"message": status.message, "type": "invalid_request_error", "param": None, "code": status.error_code}
    body = json.dumps({"error": error}) if status.body is None else status.body
    return web.Response(status=status.code, headers=status.headers, body=body.encode(), content_type="application/json")


async def _serve(port: int) -> None:
    model = ScriptedModel()
    await model.start(port)
    print(model.url, flush=True)
    while True:
        await asyncio.sleep(60)
        model.asked.clear()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
