"""Where in a TOML file something is said: its parser tells what, and not where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]
"""Such as ``("allow", 0, "commands")``."""

_HEADER = re.compile(r"\s*(\[\[?)")


class Position(NamedTuple):
    """Both count from 1."""

    line: int
    column: int


def positions(text: str) -> Mapping[KeyPath, Position]:
    """Of each table and each key of a text that is right TOML. A statement is the fewest lines that can be read by
    themselves."""
    found: dict[KeyPath, Position] = {}
    counts: dict[str, int] = {}
    table: KeyPath = ()
    begun: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        begun.append(line)
        try:
            said = tomllib.loads("\n".join(begun))
        except tomllib.TOMLDecodeError:
            continue
        first, start = begun[0], number - len(begun) + 1
        begun = []
        if not said:
            continue
        where = Position(start, len(first) - len(first.lstrip()) + 1)
        if header := _HEADER.match(first):
            [name] = said
            table = (name,)
            if header[1] == "[[":
                table = (name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            found.setdefault(table, where)
        else:
            found.setdefault((*table, next(iter(said))), where)
    return found


def nearest(found: Mapping[KeyPath, Position], path: Sequence[Any]) -> Position:
    """Of the innermost that is known."""
    for end in range(len(path), 0, -1):
        if position := found.get(tuple(path[:end])):
            return position
    return Position(1, 1)
