"""What a call of an agent's tool is about, and what it changes, read from the call's arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

WORKSPACE = "/workspace/"
DIFF_LINES = 40
"""Most lines of a diff that are kept."""
LARGEST = 100_000
"""Characters of a file beyond which no diff is made."""
MOST_PAIRS = 20_000
"""Of a line before and one after that are compared: a diff takes up to cubic time, and these may take 30 ms."""

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
    old, new = _differing(before.splitlines(), after.splitlines())
    if len(before) + len(after) > LARGEST or len(old) * len(new) > MOST_PAIRS:
        return f"(−{len(old)} +{len(new)} lines)"
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    kept = [line for line in lines if not line.startswith("@@")]
    if len(kept) > DIFF_LINES:
        kept = [*kept[:DIFF_LINES], f"… {len(kept) - DIFF_LINES} more lines"]
    return "\n".join(line[:300] for line in kept)


def _differing(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Without what is the same before and after, but for one line each."""
    shorter = min(len(old), len(new))
    begin = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    rest = shorter - begin
    end = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    first, left = max(0, begin - 1), max(0, end - 1)
    return old[first : len(old) - left], new[first : len(new) - left]


def _first(arguments: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := arguments.get(name), str) and value), "")
