"""Tool calls that a model wrote into its text, as small local models do. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from roommate.agent.openai_messages import as_object
from roommate.domain import ToolCall

_TAGGED = re.compile(r"<tool_call>\s*(\{.*?)(?:(\})\s*</tool_call>|\Z)", re.DOTALL)  # Hermes, Qwen
_FUNCTION = re.compile(r"<function=([\w-]{1,64})>\s*(\{.*?)(?:(\})\s*</function>|\Z)", re.DOTALL)  # Llama
"""Also one without an end: each beginning in it would be looked behind anew, which takes minutes."""
_FENCED = re.compile(r"```(?:json|tool_call)?\s*(\{.*\})\s*```", re.DOTALL)
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def calls_in(text: str, names: Collection[str]) -> tuple[str, tuple[ToolCall, ...]]:
    """(the text without them, the calls), without ids; nothing is taken that is no call of a tool of these names.

    Between tags a call may stand anywhere; as bare or fenced JSON it must be all that was said, as an example for
    people may look the same.
    """
    calls: list[ToolCall] = []

    def take(match: re.Match[str]) -> str:
        *named, begun, end = match.groups()
        if end is None:
            return match[0]
        name, arguments = (named[0], begun + end) if named else _named(begun + end)
        if name not in names or as_object(arguments) is None:
            return match[0]
        calls.append(ToolCall("", name, arguments))
        return ""

    rest = _FUNCTION.sub(take, _TAGGED.sub(take, text))
    if not calls:
        whole = text.strip()
        fenced = _FENCED.fullmatch(whole)
        name, arguments = _named(fenced[1] if fenced else whole)
        if name in names and as_object(arguments) is not None:
            return "", (ToolCall("", name, arguments),)
    return (rest.strip() if calls else text), tuple(calls)


def _named(text: str) -> tuple[str, str]:
    """(name, arguments) of what looks like a call; empty where it does not."""
    found = as_object(text) if text.startswith("{") else None
    if found is None or not isinstance(name := found.get("name"), str):
        return "", ""
    given = next((found[key] for key in _ARGUMENTS if key in found), None)
    if set(found) - {"name", "id", "type", *_ARGUMENTS} or given is None:
        return "", ""
    return name, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
