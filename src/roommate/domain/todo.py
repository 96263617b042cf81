"""The list of what a turn plans and has done, as the model writes it and people see it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TODO = "todo"
"""The tool whose result is such a list."""

_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])?\s*(?:\[(?P<mark>[^\]]?)\])?\s*(?P<text>.*)")


class Mark(enum.StrEnum):
    OPEN = " "
    DOING = ">"
    DONE = "x"
    DROPPED = "-"


_WRITTEN = {"x": Mark.DONE, "✓": Mark.DONE, "✔": Mark.DONE, ">": Mark.DOING, "~": Mark.DOING, "-": Mark.DROPPED}


@dataclass(frozen=True, slots=True)
class TodoItem:
    mark: Mark
    text: str


def todo_items(lines: Iterable[str]) -> Sequence[TodoItem]:
    """What lines such as ``[x] read the tests`` say; one without a mark is open."""
    found = (_ITEM.fullmatch(" ".join(line.split())) for line in lines)
    return [
        TodoItem(_WRITTEN.get((match["mark"] or " ").lower(), Mark.OPEN), match["text"])
        for match in found
        if match and match["text"]
    ]


def todo_text(items: Iterable[TodoItem]) -> str:
    """The same as text, an item a line."""
    return "\n".join(f"[{item.mark}] {item.text}" for item in items)
