"""OpenAI's chat completions, asked for without a library: what nearly every provider and local server speaks.

LiteLLM would take its import (131 MB, 2 s of CPU) and 4-12 ms a call for it, and drops fields that some want back. The
protocol: a POST to ``BASE/chat/completions``, answered by server-sent events (WHATWG HTML, section 9.2) whose data are
JSON chunks, and ``[DONE]`` behind them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp

from roommate.agent.openai_messages import Message
from roommate.agent.own_wire_or_litellm import Route
from roommate.agent.wire import TAIL_SECONDS, CallPiece, Counts, Piece
from roommate.domain import JsonObject, Usage
from roommate.host import deadlines
from roommate.net import outbound_http

LONGEST_LINE = 8 << 20
"""Bytes of one event: a provider that never ends a line must not fill the memory."""
LONGEST_REFUSAL = 64 << 10
KEPT = ("reasoning_content", "reasoning_details")
"""Fields of a reply that providers want back with the history: DeepSeek's and Kimi's, and OpenRouter's."""
LIST_SECONDS = 10.0
_ODD = (AttributeError, TypeError, OverflowError, RecursionError)
"""What reading an answer raises whose fields are not what they are elsewhere."""

Session = Callable[[], aiohttp.ClientSession]


class ProviderError(Exception):
    """A refusal, or a reply that broke off; `provider_errors.fault` reads it."""

    def __init__(self, message: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status
        self.headers = headers or {}


class OpenAIWire:
    """One model at an endpoint; implements `Wire`."""

    def __init__(self, route: Route, *, session: Session, params: Mapping[str, Any]) -> None:
        """`params` are fields of every request."""
        self.provider = route.provider
        self.context_tokens = route.facts.context_tokens
        self.sees = route.facts.sees
        self._model = route.model
        self._base = route.base.rstrip("/")
        self._headers = {"Authorization": f"Bearer {route.key}"} if route.key else {}
        self._session = session
        self._facts = route.facts
        self._params = params
        self._tools: tuple[Sequence[JsonObject], bytes] = ((), b"[]")
        """The newest, and as they are written."""
        self._marks_cache = self.provider == "openrouter" and route.model.startswith(("anthropic/", "google/"))

    async def look_up(self) -> None:
        """Ask the endpoint for what no list of ours knows: how much the model reads, whether it sees."""
        with contextlib.suppress(*outbound_http.NETWORK_ERRORS, ProviderError, *_ODD):
            for one in await self.listed():
                if one.get("id") == self._model:
                    top = one.get("top_provider") or {}
                    read = one.get("context_length") or one.get("max_model_len") or 0
                    written = top.get("max_completion_tokens") or 4096
                    self.context_tokens = int(read) - min(int(written), int(read) // 8)
                    self.sees = "image" in (one.get("architecture") or {}).get("input_modalities", ())

    async def listed(self) -> Sequence[JsonObject]:
        """The endpoint's models (``GET BASE/models``), at the least with their ``id``. Raises ProviderError, and
        `NETWORK_ERRORS`."""
        async with deadlines.within(LIST_SECONDS):
            asking = self._session().get(f"{self._base}/models", headers=self._headers, allow_redirects=False)
            async with asking as answer:
                if answer.status != 200:
                    raise await _refusal(answer)
                found = json.loads(await _begin(answer, LONGEST_LINE))
        models = found.get("data") if isinstance(found, dict) else None
        return [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []

    async def pieces(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], silence: float, counts: Counts
    ) -> AsyncGenerator[Piece, None]:
        """See `Wire`."""
        body = self._body(messages, tools)
        async with contextlib.AsyncExitStack() as asked:
            try:
                async with deadlines.within(silence):
                    answer = await asked.enter_async_context(self._asking(body))
                    if answer.status != 200:
                        raise await _refusal(answer)
                chunks = _chunks(answer)
                whole = False
                while not whole:
                    async with deadlines.within(silence):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        raise ProviderError("the connection was closed before the reply was whole")
                    if chunk is DONE:
                        break
                    piece = _piece(chunk)
                    counts.take(chunk.get("usage"))
                    whole = bool(piece.finish)
                    yield piece
            except aiohttp.ClientError as error:
                raise ProviderError(outbound_http.why(error, outbound_http.FOR_OTHERS)) from error
            # The reply is whole: where its end breaks off, only the counts are lost.
            with contextlib.suppress(Exception):
                async with deadlines.within(min(TAIL_SECONDS, silence)):
                    async for chunk in chunks:
                        counts.take(chunk.get("usage"))

    def _asking(self, body: bytes) -> Any:
        return self._session().post(
            f"{self._base}/chat/completions",
            data=body,
            headers=self._headers | {"Content-Type": "application/json", "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None),  # silence is ours to watch
            allow_redirects=False,  # the key is for this host
        )

    def _body(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject]) -> bytes:
        request: JsonObject = {"model": self._model, "stream": True, "stream_options": {"include_usage": True}}
        if self.provider == "openrouter":
            request["usage"] = {"include": True}  # with the price
        said = cached_to_here(messages) if self._marks_cache else messages
        parts = [_json(request | dict(self._params))[:-1], b',"messages":[', b",".join(map(_written, said)), b"]"]
        if tools:
            if tools is not self._tools[0]:
                self._tools = (tools, _json(tools))
            parts += [b',"tools":', self._tools[1]]
        return b"".join([*parts, b"}"])

    def usage(self, counts: Counts) -> Usage:
        cost = self._facts.cost(counts) if counts.cost is None else counts.cost
        return Usage(counts.read, counts.written, cost, min(counts.cached, counts.read))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _written(message: JsonObject) -> bytes:
    """A message of a request; what stays as it is is written once."""
    if not isinstance(message, Message):
        return _json(message)
    try:
        return message.written
    except AttributeError:
        message.written = _json(message)
        return message.written


def cached_to_here(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages with OpenRouter's marks for Anthropic and Gemini: the system's words and everything up to the last
    message are to be kept for the next request."""
    marked = list(messages)
    for place in {0, len(marked) - 1} if marked else set():
        content = marked[place].get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if parts:
            marked[place] = {
                **marked[place],
                "content": [*parts[:-1], {**parts[-1], "cache_control": {"type": "ephemeral"}}],
            }
    return marked


DONE: JsonObject = {}
"""Stands for ``[DONE]``."""


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[JsonObject]:
    """What the reply's events hold, DONE behind them; the one object of a server that does not stream."""
    if "json" in answer.content_type:
        yield _object(json.loads(await _begin(answer, LONGEST_LINE)))
        yield DONE
        return
    async for line in _lines(answer):
        if not line.startswith(b"data:"):
            continue  # a comment, an event's name, an empty line
        data = line[5:].strip()
        if data == b"[DONE]":
            yield DONE
        elif data:
            yield _object(json.loads(data))


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of the event stream, split where the bytes say so: text may hold what Unicode calls the end of one."""
    rest = bytearray()
    async for some in answer.content.iter_any():
        rest += some
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        if len(rest) > LONGEST_LINE:
            raise ProviderError("a line of its answer is too long")
        for line in lines:
            yield bytes(line)
    if rest:
        yield bytes(rest)


def _object(chunk: Any) -> JsonObject:
    if not isinstance(chunk, dict):
        raise ProviderError("its answer cannot be read: not an object")
    if error := chunk.get("error"):
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else None
        raise ProviderError(json.dumps({"error": error})[:LONGEST_REFUSAL], status)
    return chunk


def _piece(chunk: JsonObject) -> Piece:
    """One chunk in our words. Raises ProviderError for what is none."""
    choices = chunk.get("choices", [])
    if not isinstance(choices, list):
        raise ProviderError("its answer cannot be read: no choices")
    if not choices:
        return Piece()
    choice = choices[0]
    try:
        if (finish := choice.get("finish_reason") or "") == "error":
            raise ProviderError("it failed in the middle of its reply")
        delta = choice.get("delta") or choice.get("message") or {}
        return Piece(
            text=_text(delta.get("content")),
            calls=tuple(_call(one) for one in delta.get("tool_calls") or ()),
            thought=_text(delta.get("reasoning_content") or delta.get("reasoning")),
            kept={name: delta[name] for name in KEPT if delta.get(name)},
            finish=finish,
        )
    except (AttributeError, TypeError) as error:
        raise ProviderError("its answer cannot be read: a malformed choice") from error


def _text(content: Any) -> str:
    """The text of a delta; some send it in parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type", "text") == "text")
    return content or ""


def _call(one: JsonObject) -> CallPiece:
    function = one.get("function") or {}
    arguments = function.get("arguments") or ""
    index = one.get("index")
    return CallPiece(
        index if isinstance(index, int) else None,
        str(one.get("id") or ""),
        str(function.get("name") or ""),
        arguments if isinstance(arguments, str) else json.dumps(arguments),
    )


async def _refusal(answer: aiohttp.ClientResponse) -> ProviderError:
    text = ""
    with contextlib.suppress(aiohttp.ClientError):
        text = (await _begin(answer, LONGEST_REFUSAL)).decode(errors="replace")
    if "html" in answer.content_type:
        text = answer.reason or ""
    return ProviderError(text or answer.reason or "", answer.status, answer.headers)


async def _begin(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """An answer's first bytes, `most` of them."""
    found = bytearray()
    async for some in answer.content.iter_any():
        found += some
        if len(found) >= most:
            break
    return bytes(found[:most])
