"""The model APIs that coding agents speak, as one HTTP server that does what the prompt says: no key, no network.

Gemini's generateContent, OpenAI's chat completions and responses, Anthropic's messages, streamed as each of them does.
Whatever comes before the known end of a path is a base path: ``/gemini/v1beta/models/…`` and ``/v1beta/models/…`` are
the same. The newest line of the prompts that has one of these words in it is what the model does::

    DO write hello.txt some text     a call of the agent's tool that writes a file, below the workspace
    DO shell echo hi                 a call of its shell tool
    DO say some text                 an answer
    DO stall                         nothing comes any more

A ``<`` would end it: ``&lt;`` stands for one.
Behind a tool's result comes ``Done: write hello.txt. Prompts so far: 1.``; the number shows what a session remembers.

Alone: ``python -m tests.fake_providers 8099`` listens on that port of the loopback.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

JsonObject = dict[str, Any]

_WISH = re.compile(r"\bDO (write|shell|say|stall)\b ?([^\n\"\\<]*)")
IN, OUT = 100, 10
"""Tokens that every reply is said to take."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: the end of its path that says the API, the keys it came with, its JSON."""

    path: str
    api: str
    keys: tuple[str, ...]
    body: JsonObject


@dataclass(frozen=True, slots=True)
class Wish:
    verb: str
    rest: str

    def __str__(self) -> str:
        what = self.rest.split(" ")[0] if self.verb == "write" else self.rest
        return f"{self.verb} {what}".strip()


@dataclass(frozen=True, slots=True)
class Said:
    """What the model does: says a text, then perhaps calls a tool."""

    text: str
    tool: str = ""
    arguments: JsonObject | None = None


class FakeProviders:
    """``async with FakeProviders() as providers``: listens on ``providers.url``; ``providers.asked`` is what came.

    Files are written below `workspace`, since some agents want whole paths. Each reply begins `delay` seconds late.
    """

    def __init__(self, workspace: str = "/workspace", port: int = 0, delay: float = 0) -> None:
        self.asked: list[Asked] = []
        self._workspace = workspace
        self._port = port
        self._delay = delay
        self.go_on = asyncio.Event()
        """Cleared by a test, no reply follows a tool's result until it is set again."""
        self.go_on.set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if request.method == "GET" and path.endswith("/models"):
            return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}], "models": []})
        try:
            body = await request.json()
        except ValueError:
            body = {}
        if path.endswith("/messages/count_tokens"):
            return web.json_response({"input_tokens": 42})
        if path.endswith(":countTokens"):
            return web.json_response({"totalTokens": 42})
        api = next((api for end, api in _APIS.items() if re.search(end, path)), None)
        if api is None:
            return web.json_response({"error": {"message": f"no such path: {path}"}}, status=404)
        headers = ("authorization", "x-api-key", "x-goog-api-key")
        keys = tuple(request.headers[name] for name in headers if name in request.headers)
        self.asked.append(Asked(path, api, keys, body))
        texts, names, answered = _READERS[api](body)
        wishes = [Wish(verb, html.unescape(rest)) for text in texts for verb, rest in _WISH.findall(text)]
        wish = wishes[-1] if wishes else Wish("say", "echo")
        await asyncio.sleep(3600 if wish.verb == "stall" else self._delay)
        if answered:
            await self.go_on.wait()
        said = self._say(wish, names, answered, len(wishes))
        stream = body.get("stream") or path.endswith("streamGenerateContent")
        if not stream:
            return web.json_response(_WHOLE[api](said, body))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for event in _STREAMS[api](said, body):
            await response.write(event.encode())
        await response.write_eof()
        return response

    def _say(self, wish: Wish, names: Sequence[str], answered: bool, count: int) -> Said:
        if wish.verb == "say" or not names:
            return Said(wish.rest or "Nothing to do.")
        if answered:
            return Said(f"Done: {wish}. Prompts so far: {count}.")
        for name, arguments in self._calls(wish):
            if name in names:
                return Said("I will do it.", name, arguments)
        return Said(f"I have no tool for {wish}, only {', '.join(names)}.")

    def _calls(self, wish: Wish) -> list[tuple[str, JsonObject]]:
        """The tools of the agents that can do it, first the one that is made for it."""
        command = wish.rest
        calls: list[tuple[str, JsonObject]] = []
        if wish.verb == "write":
            path, _, text = wish.rest.partition(" ")
            path = f"{self._workspace}/{path}"
            command = f"printf '%s\\n' '{text}' > {path}"
            calls = [
                ("write_file", {"file_path": path, "content": f"{text}\n"}),
                ("Write", {"file_path": path, "content": f"{text}\n"}),
                ("write", {"filePath": path, "content": f"{text}\n"}),
            ]
        return [
            *calls,
            ("run_shell_command", {"command": command, "description": "as asked", "is_background": False}),
            ("Bash", {"command": command, "description": "as asked"}),
            ("bash", {"command": command, "description": "as asked"}),
            ("exec_command", {"cmd": command}),
            ("shell_command", {"command": command}),
            ("shell", {"command": ["sh", "-c", command]}),
        ]


def _event(data: JsonObject, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:12]}"


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


def _texts(content: object) -> list[str]:
    """The text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]


Read = tuple[list[str], list[str], bool]
"""The texts of the prompts, the names of the tools, whether a tool's result is the newest."""

# ── Gemini ───────────────────────────────────────────────────────────────────────────────────────


def _read_gemini(body: JsonObject) -> Read:
    contents = body.get("contents") or []
    names = [one["name"] for tool in body.get("tools") or [] for one in tool.get("functionDeclarations") or []]
    texts = [text for one in contents if one.get("role") == "user" for text in _texts(one.get("parts"))]
    newest = contents[-1]["parts"] if contents else []
    return texts, names, any("functionResponse" in part for part in newest)


def _gemini(parts: list[JsonObject], body: JsonObject, *, last: bool) -> JsonObject:
    candidate: JsonObject = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": IN, "candidatesTokenCount": OUT, "totalTokenCount": IN + OUT}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake", "responseId": _id("r")}


def _gemini_parts(said: Said, body: JsonObject) -> list[JsonObject]:
    config = body.get("generationConfig") or {}
    if config.get("responseJsonSchema") or config.get("responseSchema"):  # the agent asks itself what to do
        choice = {"reasoning": "fake", "model_choice": "flash", "next_speaker": "user", "complexity_score": 10}
        return [{"text": json.dumps({**choice, "complexity_reasoning": "fake", "confidence": 1})}]
    parts: list[JsonObject] = [{"text": word} for word in _words(said.text)]
    if said.tool:
        parts.append({"functionCall": {"name": said.tool, "args": said.arguments}})
    return parts


def _whole_gemini(said: Said, body: JsonObject) -> JsonObject:
    return _gemini(_gemini_parts(said, body), body, last=True)


async def _stream_gemini(said: Said, body: JsonObject) -> AsyncIterator[str]:
    parts = _gemini_parts(said, body)
    for number, part in enumerate(parts, start=1):
        yield _event(_gemini([part], body, last=number == len(parts)))


# ── OpenAI's chat completions ────────────────────────────────────────────────────────────────────


def _read_chat(body: JsonObject) -> Read:
    messages = body.get("messages") or [{}]
    texts = [text for one in messages if one.get("role") == "user" for text in _texts(one.get("content"))]
    names = [tool["function"]["name"] for tool in body.get("tools") or []]
    return texts, names, messages[-1].get("role") == "tool"


_CHAT_USAGE = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}


def _whole_chat(said: Said, body: JsonObject) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": said.text}
    if said.tool:
        function = {"name": said.tool, "arguments": json.dumps(said.arguments)}
        message["tool_calls"] = [{"id": _id("call"), "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if said.tool else "stop"}
    head = {"id": _id("chatcmpl"), "object": "chat.completion", "created": 1, "model": body.get("model")}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


async def _stream_chat(said: Said, body: JsonObject) -> AsyncIterator[str]:
    head = {"id": _id("chatcmpl"), "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}

    def chunk(delta: JsonObject, finish: str | None = None) -> str:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    for word in _words(said.text):
        yield chunk({"content": word})
    if said.tool:
        call = {"index": 0, "id": _id("call"), "type": "function", "function": {"name": said.tool, "arguments": ""}}
        yield chunk({"tool_calls": [call]})
        arguments = json.dumps(said.arguments)
        for start in range(0, len(arguments), 20):
            function = {"arguments": arguments[start : start + 20]}
            yield chunk({"tool_calls": [{"index": 0, "function": function}]})
    yield chunk({}, "tool_calls" if said.tool else "stop")
    yield _event({**head, "choices": [], "usage": _CHAT_USAGE})
    yield "data: [DONE]\n\n"


# ── OpenAI's responses ───────────────────────────────────────────────────────────────────────────


def _read_responses(body: JsonObject) -> Read:
    items = body.get("input") or [{}]
    texts = [text for one in items if one.get("role") == "user" for text in _texts(one.get("content"))]
    names = [str(tool.get("name") or tool.get("type")) for tool in body.get("tools") or []]
    return texts, names, str(items[-1].get("type", "")).endswith("_output")


def _response_items(said: Said) -> list[JsonObject]:
    content = [{"type": "output_text", "text": said.text, "annotations": []}]
    items: list[JsonObject] = [
        {"type": "message", "id": _id("msg"), "role": "assistant", "status": "completed", "content": content}
    ]
    if said.tool:
        arguments = json.dumps(said.arguments)
        call = {"type": "function_call", "id": _id("fc"), "call_id": _id("call"), "name": said.tool}
        items.append({**call, "arguments": arguments, "status": "completed"})
    return items


def _whole_responses(said: Said, body: JsonObject) -> JsonObject:
    usage = {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    head = {"id": _id("resp"), "object": "response", "created_at": 1, "model": body.get("model")}
    return {**head, "status": "completed", "output": _response_items(said), "usage": {**usage, **details}}


async def _stream_responses(said: Said, body: JsonObject) -> AsyncIterator[str]:
    whole = _whole_responses(said, body)
    number = 0

    def event(kind: str, **more: Any) -> str:
        nonlocal number
        number += 1
        return _event({"type": kind, "sequence_number": number, **more}, kind)

    yield event("response.created", response={**whole, "status": "in_progress", "output": []})
    for index, item in enumerate(whole["output"]):
        at: JsonObject = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.output_item.added", output_index=index, item={**item, "content": []})
            yield event("response.content_part.added", **at, content_index=0, part=part)
            for word in _words(said.text):
                yield event("response.output_text.delta", **at, content_index=0, delta=word)
            yield event("response.output_text.done", **at, content_index=0, text=said.text)
        else:
            yield event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
            yield event("response.function_call_arguments.delta", **at, delta=item["arguments"])
            yield event("response.function_call_arguments.done", **at, arguments=item["arguments"])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


# ── Anthropic ────────────────────────────────────────────────────────────────────────────────────


def _read_anthropic(body: JsonObject) -> Read:
    messages = body.get("messages") or [{}]
    texts = [text for one in messages if one.get("role") == "user" for text in _texts(one.get("content"))]
    newest = messages[-1].get("content")
    parts = newest if isinstance(newest, list) else []
    names = [str(tool["name"]) for tool in body.get("tools") or []]
    return texts, names, any(part.get("type") == "tool_result" for part in parts)


def _anthropic(said: Said, body: JsonObject) -> JsonObject:
    content: list[JsonObject] = [{"type": "text", "text": said.text}]
    if said.tool:
        content.append({"type": "tool_use", "id": _id("toolu"), "name": said.tool, "input": said.arguments})
    usage = {"input_tokens": IN, "output_tokens": OUT, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    head = {"id": _id("msg"), "type": "message", "role": "assistant", "model": body.get("model"), "stop_sequence": None}
    return {**head, "content": content, "stop_reason": "tool_use" if said.tool else "end_turn", "usage": usage}


async def _stream_anthropic(said: Said, body: JsonObject) -> AsyncIterator[str]:
    def event(kind: str, **more: Any) -> str:
        return _event({"type": kind, **more}, kind)

    whole = _anthropic(said, body)
    yield event("message_start", message={**whole, "content": [], "stop_reason": None})
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for word in _words(block["text"]):
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
        else:
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            partial = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield event("content_block_delta", index=index, delta=partial)
        yield event("content_block_stop", index=index)
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": OUT})
    yield event("message_stop")


_APIS = {
    r"/v1(beta)?/models/[^/]+:(stream)?[gG]enerateContent$": "gemini",
    r"/chat/completions$": "chat",
    r"/responses$": "responses",
    r"/messages$": "anthropic",
}
"""What the end of a path says of the API."""

_READERS = {"gemini": _read_gemini, "chat": _read_chat, "responses": _read_responses, "anthropic": _read_anthropic}
_WHOLE = {"gemini": _whole_gemini, "chat": _whole_chat, "responses": _whole_responses, "anthropic": _anthropic}
_STREAMS = {
    "gemini": _stream_gemini,
    "chat": _stream_chat,
    "responses": _stream_responses,
    "anthropic": _stream_anthropic,
}


async def _alone(port: int, workspace: str) -> None:
    async with FakeProviders(workspace, port) as providers:
        print(providers.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_alone(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/workspace"))
