"""What a call of an agent's tool is about, and what it changes, read from the call's arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

WORKSPACE = "/workspace/"
DIFF_LINES = 40
"""Most lines of a diff that are kept."""
LARGEST = 100_000
"""Characters of a file beyond which no diff is made: that takes quadratic time."""

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
    if len(before) + len(after) > LARGEST:
        return f"(−{len(before.splitlines())} +{len(after.splitlines())} lines)"
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]
    kept = [line for line in lines if not line.startswith("@@")]
    if len(kept) > DIFF_LINES:
        kept = [*kept[:DIFF_LINES], f"… {len(kept) - DIFF_LINES} more lines"]
    return "\n".join(line[:300] for line in kept)


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := arguments.get(name), str) and value), "")
