"""OpenAI's chat completions as strict as the strictest who speak it, and what OpenRouter and DeepSeek add to it.

The rules are OpenAI's own, and those of Mistral's API and of models' templates in vLLM and llama.cpp, which refuse a
system message that is not the first, and a user's message behind a tool's result or another user's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.strict_replies import SIGNATURE, JsonObject, Out, event, pieces

_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}
_BEHIND = {
    "": {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


def wrong_at_openai(body: JsonObject, more: frozenset[str] = frozenset()) -> str:
    """`more` are fields of an assistant's message that this provider knows."""
    messages, waiting, before = body["messages"], list[str](), ""
    if body.get("tools") == []:
        return "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead."
    for place, message in enumerate(messages):
        role, content = message["role"], message.get("content")
        at = f"messages[{place}]"
        if unknown := message.keys() - _FIELDS[role] - (more if role == "assistant" else set()):
            return f"Unknown parameter: '{at}.{sorted(unknown)[0]}'."
        if waiting and role != "tool":
            return (
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {waiting}"
            )
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                return "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            waiting.remove(message["tool_call_id"])
        if role not in _BEHIND[before]:
            return f"Conversation roles must alternate; got {role!r} behind {before!r}. System messages come first."
        calls = message.get("tool_calls") or []
        if wrong := _wrong_content(content, role, at, needed=not calls) or _wrong_calls(calls, at):
            return wrong
        waiting, before = waiting or [call["id"] for call in calls], role
    if waiting:
        return f"The following tool_call_ids did not have response messages: {waiting}"
    return "" if before in ("user", "tool") else f"Expected last role user or tool, but got {before}."


def _wrong_content(content: object, role: str, at: str, *, needed: bool) -> str:
    if content is None or content == "":
        return f"Invalid value for '{at}.content': expected a non-empty string." if needed else ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    assert isinstance(parts, list)
    for part in parts:
        if part["type"] == "text" and not part["text"].strip():
            return f"Invalid '{at}.content': text content blocks must be non-empty."
        if part["type"] == "image_url" and role != "user":
            return f"Invalid '{at}'. Image URLs are only allowed for messages with role 'user'."
    return "" if parts else f"Invalid '{at}.content': empty array."


def _wrong_calls(calls: list[JsonObject], at: str) -> str:
    ids = [call["id"] for call in calls]
    if len(set(ids)) < len(ids):
        return f"Duplicate value for 'tool_call_id' in {at}."
    for call in calls:
        if not 1 <= len(call["id"]) <= 40:
            return f"Invalid '{at}.tool_calls[].id': string too long. Expected a string with maximum length 40."
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"]):
            return f"Invalid '{at}.tool_calls[].function.name': string does not match pattern."
        if not isinstance(json.loads(call["function"]["arguments"]), dict):
            return f"Invalid '{at}.tool_calls[].function.arguments': not an object."
    return ""


def wrong_at_openrouter(body: JsonObject) -> str:
    """With `reasoning`, models that think want the signed thoughts of the running turn's calls back (docs: Reasoning
    tokens, Preserving reasoning blocks)."""
    if wrong := wrong_at_openai(body, frozenset({"reasoning_details", "reasoning"})):
        return wrong
    if json.dumps(body["messages"]).count('"cache_control"') > 4:
        return "A maximum of 4 blocks with cache_control may be provided."
    for place, message in _calling(body) if "reasoning" in body or "reasoning_effort" in body else ():
        signed = [one for one in message.get("reasoning_details") or () if one.get("signature") == SIGNATURE]
        if not signed:
            return f"messages.{place}: Expected `thinking`, but found `tool_use`"
    return ""


def wrong_at_deepseek(body: JsonObject) -> str:
    """Thoughts go back with every call, whatever was said since (docs: Thinking mode, Tool calls)."""
    if wrong := wrong_at_openai(body, frozenset({"reasoning_content"})):
        return wrong
    if any(one.get("tool_calls") and not one.get("reasoning_content") for one in body["messages"]):
        return "The `reasoning_content` in the thinking mode must be passed back to the API."
    return ""


def _calling(body: JsonObject) -> Iterator[tuple[int, JsonObject]]:
    """The messages with calls of the turn that runs."""
    messages = body["messages"]
    newest = max((place for place, one in enumerate(messages) if one["role"] == "user"), default=0)
    yield from ((place, one) for place, one in enumerate(messages) if place > newest and one.get("tool_calls"))


def stream_openai(out: Out) -> Iterator[str]:
    yield from _stream(out, [])


def stream_openrouter(out: Out) -> Iterator[str]:
    yield ": OPENROUTER PROCESSING\n\n"
    kind: JsonObject = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    thoughts: list[JsonObject] = [
        {"reasoning": piece, "reasoning_details": [{**kind, "text": piece}]} for piece in pieces(out.thought)
    ]
    if thoughts:
        thoughts.append({"reasoning_details": [{**kind, "signature": SIGNATURE}]})
    yield from _stream(out, thoughts)


def stream_deepseek(out: Out) -> Iterator[str]:
    yield from _stream(out, [{"reasoning_content": piece} for piece in pieces(out.thought)])


def _stream(out: Out, thoughts: list[JsonObject]) -> Iterator[str]:
    """Calls in parallel come by turns: each chunk says with its index which one it continues."""

    def chunk(delta: JsonObject, finish: str | None = None, **more: object) -> str:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    yield chunk({"role": "assistant", "content": ""})
    for thought in thoughts:
        yield chunk({"content": "", **thought})
    for piece in pieces(out.text):
        yield chunk({"content": piece})
    for index, (name, _) in enumerate(out.calls):
        call = {"index": index, "id": f"call_{id(out)}_{index}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
    written = [json.dumps(arguments) for _, arguments in out.calls]
    for start in range(0, max(map(len, written), default=0), 7):
        for index, text in enumerate(written):
            if part := text[start : start + 7]:
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, out.stop or ("tool_calls" if out.calls else "stop"))
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    yield event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
                 "usage": usage})  # fmt: skip
    yield "data: [DONE]\n\n"
