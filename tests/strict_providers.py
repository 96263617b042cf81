"""Providers as strict as they are about a history, saying what a test wants: Anthropic, Gemini, OpenAI's Responses,
Ollama, and those that speak OpenAI's chat completions (`strict_chat`).

Each request is checked as the real API checks it; what is refused is refused in its words. A reply is an `Out`; the
n-th request gets the n-th one. `cut` ends the connection of the next reply after that part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests import strict_chat
from tests.strict_replies import SIGNATURE, JsonObject, Out, event, pieces


class StrictProviders:
    """The server; ``url`` is its root."""

    def __init__(self, *replies: Out) -> None:
        self.replies = replies
        self.asked: list[JsonObject] = []
        self.cut: float | None = None
        self.tools_known = True
        """False for a model of Ollama's that cannot call tools."""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/api/show"):
            return web.json_response({"model_info": {"general.architecture": "x", "x.context_length": 8192}})
        api = next((api for end, api in _APIS.items() if re.search(end, request.path)), None)
        if api is None:
            return web.json_response({"error": {"message": f"no such path: {request.path}"}}, status=404)
        body = await request.json()
        wrong = api.wrong(body)
        if api is OLLAMA and not self.tools_known and body.get("tools"):
            wrong = f"registry.ollama.ai/library/{body['model']} does not support tools"
        if wrong:
            error: object = wrong if api is OLLAMA else {"message": wrong, "type": "invalid_request_error", "code": 400}
            return web.json_response({"type": "error", "error": error}, status=400)
        self.asked.append(body)
        out = self.replies[min(len(self.asked), len(self.replies)) - 1]
        stream = "".join(api.stream(out)).encode()
        response = web.StreamResponse(headers={"Content-Type": api.content_type})
        await response.prepare(request)
        if self.cut is not None:
            stream, self.cut = stream[: int(len(stream) * self.cut)], None
            self.asked.pop()
            await response.write(stream)
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(stream)
        await response.write_eof()
        return response


@dataclass(frozen=True, slots=True)
class _Api:
    wrong: Callable[[JsonObject], str]
    """Why a request is refused; empty where it is not."""
    stream: Callable[[Out], Iterator[str]]
    content_type: str = "text/event-stream"


def _blocks(message: Mapping[str, Any]) -> list[JsonObject]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# ── Anthropic (docs: Messages API, tool use, extended thinking) ──────────────────────────────────


def _wrong_at_anthropic(body: JsonObject) -> str:
    messages, waiting = body["messages"], set[str]()
    if messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    for place, message in enumerate(messages):
        if message["role"] not in ("user", "assistant"):
            return f'messages.{place}: Unexpected role "{message["role"]}"'
        if place and message["role"] == messages[place - 1]["role"]:
            return 'messages: roles must alternate between "user" and "assistant"'
        blocks = _blocks(message)
        if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            return f"messages.{place}: text content blocks must be non-empty"
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if waiting - answered:
            return f"messages.{place}: `tool_use` ids were found without `tool_result` blocks: {sorted(waiting)}"
        if answered - waiting:
            return f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {sorted(answered)}"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            if block["type"] == "thinking" and block["signature"] != SIGNATURE:
                return f"messages.{place}: Invalid `signature` in `thinking` block"
        thinks = (body.get("thinking") or {}).get("type") == "enabled"
        last = place >= len(messages) - 2 and message["role"] == "assistant"
        if thinks and last and waiting and blocks[0]["type"] not in ("thinking", "redacted_thinking"):
            return f"messages.{place}.content.0.type: Expected `thinking`, but found `{blocks[0]['type']}`"
    return f"`tool_use` ids were found without `tool_result` blocks: {sorted(waiting)}" if waiting else ""


def _stream_anthropic(out: Out) -> Iterator[str]:
    def typed(kind: str, **more: Any) -> str:
        return event({"type": kind, **more}, kind)

    usage = {"input_tokens": 100, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    yield typed("message_start", message={**head, "stop_reason": None, "stop_sequence": None, "usage": usage})
    number = 0
    if out.thought:
        yield typed("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
        for piece in pieces(out.thought):
            yield typed("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": piece})
        yield typed("content_block_delta", index=0, delta={"type": "signature_delta", "signature": SIGNATURE})
        yield typed("content_block_stop", index=0)
        number += 1
    if out.text:
        yield typed("content_block_start", index=number, content_block={"type": "text", "text": ""})
        for piece in pieces(out.text):
            yield typed("content_block_delta", index=number, delta={"type": "text_delta", "text": piece})
        yield typed("content_block_stop", index=number)
        number += 1
    for place, (name, arguments) in enumerate(out.calls):
        block = {"type": "tool_use", "id": f"toolu_{id(out)}_{place}", "name": name, "input": {}}
        yield typed("content_block_start", index=number, content_block=block)
        written = json.dumps(arguments)
        for start in range(0, len(written), 7):
            delta = {"type": "input_json_delta", "partial_json": written[start : start + 7]}
            yield typed("content_block_delta", index=number, delta=delta)
        yield typed("content_block_stop", index=number)
        number += 1
    stop = out.stop or ("tool_use" if out.calls else "end_turn")
    yield typed("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 10})
    yield typed("message_stop")


# ── Gemini (docs: function calling, thought signatures) ──────────────────────────────────────────


def _wrong_at_gemini(body: JsonObject) -> str:
    contents, waiting = body["contents"], 0
    newest = max((n for n, one in enumerate(contents) if any("text" in part for part in one["parts"])
                  and one["role"] == "user"), default=0)  # fmt: skip
    for place, one in enumerate(contents):
        calls = [part for part in one["parts"] if "functionCall" in part or "function_call" in part]
        answers = [part for part in one["parts"] if "functionResponse" in part or "function_response" in part]
        if waiting and len(answers) != waiting:
            return (
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        if answers and not waiting:
            return "Please ensure that function response turn comes immediately after a function call turn."
        if calls and (not place or contents[place - 1]["role"] == "model"):
            return (
                "Please ensure that function call turn comes immediately after a user turn or a function response turn."
            )
        if calls and place > newest and calls[0].get("thoughtSignature") != SIGNATURE:
            return f"Function call is missing a thought_signature in functionCall parts, position {place}."
        if any(part.get("text") == "" for part in one["parts"]):
            return "Unable to submit request because it has an empty text parameter."
        waiting = len(calls)
    return ""


def _stream_gemini(out: Out) -> Iterator[str]:
    parts: list[JsonObject] = [{"text": piece, "thought": True} for piece in pieces(out.thought)]
    parts += [{"text": piece} for piece in pieces(out.text)]
    for place, (name, arguments) in enumerate(out.calls):
        signed = {} if place else {"thoughtSignature": SIGNATURE}  # parallel calls: the first alone has one
        parts.append({"functionCall": {"name": name, "args": arguments}, **signed})
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    for number, part in enumerate(parts or [{"text": ""}], start=1):
        candidate: JsonObject = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if number >= len(parts):
            candidate["finishReason"] = out.stop or "STOP"
        yield event({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "x", "responseId": "r"})


# ── Ollama (docs: POST /api/chat) ────────────────────────────────────────────────────────────────


def _wrong_at_ollama(body: JsonObject) -> str:
    for message in body["messages"]:
        if not isinstance(message.get("content", ""), str):
            return "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        for call in message.get("tool_calls") or ():
            if not isinstance(call["function"]["arguments"], dict):
                return "json: cannot unmarshal string into Go struct field .arguments"
    return ""


def _stream_ollama(out: Out) -> Iterator[str]:
    def line(message: JsonObject, **more: Any) -> str:
        content = {"role": "assistant", "content": "", **message}
        return (
            json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": content, "done": False, **more})
            + "\n"
        )

    for piece in pieces(out.thought):
        yield line({"thinking": piece})
    for piece in pieces(out.text):
        yield line({"content": piece})
    for name, arguments in out.calls:
        yield line({"tool_calls": [{"function": {"name": name, "arguments": arguments}}]})
    yield line({}, done=True, done_reason=out.stop or "stop", prompt_eval_count=100, eval_count=10)


# ── OpenAI's Responses ───────────────────────────────────────────────────────────────────────────


def _wrong_at_responses(body: JsonObject) -> str:
    items = body["input"]
    called = {one["call_id"] for one in items if one.get("type") == "function_call"}
    answered = {one["call_id"] for one in items if one.get("type") == "function_call_output"}
    if missing := called - answered:
        return f"No tool output found for function call {sorted(missing)[0]}."
    if unknown := answered - called:
        return f"No tool call found for function call output with call_id {sorted(unknown)[0]}."
    return ""


def _stream_responses(out: Out) -> Iterator[str]:
    number = 0

    def typed(kind: str, **more: Any) -> str:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **more}, kind)

    items: list[JsonObject] = []
    if out.text:
        content = [{"type": "output_text", "text": out.text, "annotations": []}]
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content})
    for place, (name, arguments) in enumerate(out.calls):
        call = {
            "type": "function_call",
            "id": f"fc_{id(out)}_{place}",
            "call_id": f"call_{id(out)}_{place}",
            "name": name,
        }
        items.append({**call, "arguments": json.dumps(arguments), "status": "completed"})
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    whole: JsonObject = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": items}
    cut = {"incomplete_details": {"reason": out.stop}} if out.stop else {}
    ended = {**whole, **cut, "status": "incomplete" if out.stop else "completed", "usage": {**usage, **details}}
    yield typed("response.created", response={**whole, "status": "in_progress", "output": []})
    for index, item in enumerate(items):
        at: JsonObject = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield typed("response.output_item.added", output_index=index, item={**item, "content": []})
            for piece in pieces(out.text):
                yield typed("response.output_text.delta", **at, content_index=0, delta=piece)
            yield typed("response.output_text.done", **at, content_index=0, text=out.text)
        else:
            yield typed("response.output_item.added", output_index=index, item={**item, "arguments": ""})
            yield typed("response.function_call_arguments.delta", **at, delta=item["arguments"])
            yield typed("response.function_call_arguments.done", **at, arguments=item["arguments"])
        yield typed("response.output_item.done", output_index=index, item=item)
    yield typed("response.incomplete" if out.stop else "response.completed", response=ended)


ANTHROPIC = _Api(_wrong_at_anthropic, _stream_anthropic)
GEMINI = _Api(_wrong_at_gemini, _stream_gemini)
RESPONSES = _Api(_wrong_at_responses, _stream_responses)
OLLAMA = _Api(_wrong_at_ollama, _stream_ollama, "application/x-ndjson")

OPENROUTER = _Api(strict_chat.wrong_at_openrouter, strict_chat.stream_openrouter)
DEEPSEEK = _Api(strict_chat.wrong_at_deepseek, strict_chat.stream_deepseek)
CHAT = _Api(strict_chat.wrong_at_openai, strict_chat.stream_openai)

_APIS = {
    r"/openrouter/chat/completions$": OPENROUTER,
    r"/deepseek/chat/completions$": DEEPSEEK,
    r"/chat/completions$": CHAT,
    r"/messages$": ANTHROPIC,
    r":streamGenerateContent$": GEMINI,
    r"/responses$": RESPONSES,
    r"/api/chat$": OLLAMA,
}
"""What the end of a path says of the API."""
