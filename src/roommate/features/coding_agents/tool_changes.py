"""What a call of an agent's tool is about, and what it changes, read from the call's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roommate.text.diffs import difference

WORKSPACE = "/workspace/"

_SUBJECTS = (
    "command",
    "cmd",
    "file_path",
    "filePath",
    "absolute_path",
    "path",
    "pattern",
    "query",
    "url",
    "description",
)
_BEFORE = ("old_string", "oldString")
_AFTER = ("new_string", "newString", "content")


def subject(arguments: Mapping[str, Any]) -> str:
    """The one argument that tells most, in one line: a command, a path below the workspace."""
    value = _first(arguments, _SUBJECTS)
    return " ".join(value.removeprefix(WORKSPACE).split())[:500]


def change(arguments: Mapping[str, Any]) -> str:
    """The diff of a call that replaces a text, or writes a file; empty for all others."""
    after, before = _first(arguments, _AFTER), _first(arguments, _BEFORE)
    if not (after or before) or not _first(arguments, ("file_path", "filePath", "path")):
        return ""
    return difference(before, after).lines


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := arguments.get(name), str) and value), "")
