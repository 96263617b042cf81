"""The event streams of the CLIs, one JSON object a line, read into our own events; what is not understood is left out.

Seen with gemini 0.61, qwen 0.24, claude 2.1, codex 0.169 and opencode 1.18. The streams come out of a container:
nothing in them is believed to be of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from roommate.domain import JsonObject, Usage
from roommate.features.coding_agents.events import AgentEvent, Began, Called, Complained, Ended, Returned, Spoke
from roommate.features.coding_agents.tool_changes import change, subject

MOST_PARTS = 100
"""Of one message or change, that are read: each may have a diff."""
LABEL = 200

Read = Callable[[JsonObject], Iterator[AgentEvent]]


def gemini(line: JsonObject) -> Iterator[AgentEvent]:
    """``gemini -o stream-json``: init, message (in pieces), tool_use, tool_result, error, result."""
    match line.get("type"):
        case "init":
            yield Began(_text(line, "session_id"))
        case "message" if line.get("role") == "assistant":
            yield Spoke(_text(line, "content"), more=line.get("delta") is True)
        case "tool_use":
            yield _called(_text(line, "tool_id"), _text(line, "tool_name"), _object(line, "parameters"))
        case "tool_result":
            given = _text(line, "output") or _text(_object(line, "error"), "message")
            yield Returned(_text(line, "tool_id"), line.get("status") == "success", given)
        case "error":
            yield Complained(_text(line, "message"))
        case "result":
            stats = _object(line, "stats")
            failed = "" if line.get("status") == "success" else _text(_object(line, "error"), "message") or "it failed"
            yield Ended(_usage(stats), failed)


def claude(line: JsonObject) -> Iterator[AgentEvent]:
    """``claude --output-format stream-json``, which Qwen Code has as well: system, assistant, user, result."""
    match line.get("type"):
        case "system":
            if line.get("subtype") == "init":
                yield Began(_text(line, "session_id"))
            elif line.get("subtype") == "api_retry":
                yield Complained("the model's provider does not answer; trying again")
        case "assistant":
            for part in _parts(_object(line, "message")):
                if part.get("type") == "text":
                    yield Spoke(_text(part, "text"))
                elif part.get("type") == "tool_use":
                    yield _called(_text(part, "id"), _text(part, "name"), _object(part, "input"))
        case "user":
            for part in _parts(_object(line, "message")):
                if part.get("type") == "tool_result":
                    text = "\n".join(_text(one, "text") for one in _parts(part)) or _text(part, "content")
                    yield Returned(_text(part, "tool_use_id"), part.get("is_error") is not True, text)
        case "result":
            failed = ""
            if line.get("is_error") is True or line.get("subtype") != "success":
                errors = [error for error in _list(line, "errors") if isinstance(error, str)]
                failed = _text(line, "result") or "; ".join(errors) or _text(_object(line, "error"), "message")
                failed = failed or _text(line, "subtype") or "it failed"
            yield Ended(_usage(_object(line, "usage")), failed)


def codex(line: JsonObject) -> Iterator[AgentEvent]:
    """``codex exec --json``: thread, turn and item events; an item is a message, a command, a change of files."""
    match line.get("type"):
        case "thread.started":
            yield Began(_text(line, "thread_id"))
        case "item.started":
            yield from _codex_begins(_object(line, "item"))
        case "item.completed":
            yield from _codex_ends(_object(line, "item"))
        case "turn.completed":
            yield Ended(_usage(_object(line, "usage")))
        case "turn.failed":
            yield Ended(Usage(), _text(_object(line, "error"), "message") or "it failed")
        case "error":
            yield Complained(_text(line, "message"))


def _codex_begins(item: JsonObject) -> Iterator[AgentEvent]:
    key = _text(item, "id")
    match item.get("type"):
        case "command_execution":
            yield Called(key, "shell", subject({"command": _text(item, "command")}))
        case "mcp_tool_call":
            yield Called(key, _text(item, "tool"), "")
        case "web_search":
            yield Called(key, "web_search", subject(item))


def _codex_ends(item: JsonObject) -> Iterator[AgentEvent]:
    key, ok = _text(item, "id"), item.get("status") != "failed"
    match item.get("type"):
        case "agent_message":
            yield Spoke(_text(item, "text"))
        case "command_execution":
            yield Returned(key, ok, _text(item, "aggregated_output"))
        case "file_change":
            for number, changed in enumerate(_list(item, "changes")):
                if isinstance(changed, dict):
                    one = f"{key}.{number}"
                    yield Called(one, _text(changed, "kind") or "change", subject(changed), _text(changed, "diff"))
                    yield Returned(one, ok, "")
        case "mcp_tool_call" | "web_search":
            yield Returned(key, ok, "")


def opencode(line: JsonObject) -> Iterator[AgentEvent]:
    """``opencode run --format json``: text, tool_use (when it has ended), step_finish, error."""
    if session := _text(line, "sessionID"):
        yield Began(session)
    part = _object(line, "part")
    match line.get("type"):
        case "text":
            yield Spoke(_text(part, "text"))
        case "tool_use":
            state, key = _object(part, "state"), _text(part, "callID")
            yield _called(key, _text(part, "tool"), _object(state, "input"))
            ok = state.get("status") == "completed" and _object(state, "metadata").get("exit") in (0, None)
            yield Returned(key, ok, _text(state, "output") or _text(state, "error"))
        case "step_finish":
            yield Ended(_usage(_object(part, "tokens")))
        case "error":
            error = _object(line, "error")
            failed = _text(_object(error, "data"), "message") or _text(error, "message") or _text(error, "name")
            yield Ended(Usage(), failed or "it failed")


def _called(key: str, tool: str, arguments: JsonObject) -> Called:
    return Called(key, tool[:LABEL], subject(arguments), change(arguments))


def _usage(counts: JsonObject) -> Usage:
    read = _count(counts, "input_tokens", "input") + _count(counts, "cache_creation_input_tokens")
    return Usage(read, _count(counts, "output_tokens", "output"))


def _count(counts: JsonObject, *names: str) -> int:
    """The first of these that is a number of tokens."""
    values = [counts.get(name) for name in names]
    return next((value for value in values if type(value) is int and 0 <= value < 1 << 40), 0)


def _text(line: JsonObject, name: str) -> str:
    value = line.get(name)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _object(line: JsonObject, name: str) -> JsonObject:
    value = line.get(name)
    return value if isinstance(value, dict) else {}


def _list(line: JsonObject, name: str) -> list[Any]:
    value = line.get(name)
    return value[:MOST_PARTS] if isinstance(value, list) else []


def _parts(message: JsonObject) -> list[JsonObject]:
    return [part for part in _list(message, "content") if isinstance(part, dict)]
