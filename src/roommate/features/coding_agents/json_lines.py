"""Bytes as they come, cut into lines of JSON, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from roommate.domain import JsonObject

LONGEST = 4 << 20
"""Bytes of a line; one that is longer is left out and counted."""

MOST_VALUES = 20_000
"""In a line: of its bytes JSON makes objects, forty times as large as they are, and all in one go."""

_LOOKED_INTO = 1 << 19
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""Also one without an end: each quote in it would be looked behind anew, which takes minutes."""


class Lines:
    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False
        self.left_out = 0
        """Lines that were too long or no JSON object."""

    def feed(self, piece: bytes) -> Iterator[JsonObject]:
        """The objects of the lines that end with this piece."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            self._add(end)
            if (line := self._take()) is not None:
                yield line
        self._add(rest)

    def end(self) -> Iterator[JsonObject]:
        """The last line, where no newline ended it."""
        if (line := self._take()) is not None:
            yield line

    def _add(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._rest += piece
        if len(self._rest) > self._longest:
            self._rest.clear()
            self._skipping = True

    def _take(self) -> JsonObject | None:
        whole, self._rest = bytes(self._rest), bytearray()
        skipped, self._skipping = self._skipping, False
        if not skipped:
            if not whole.strip():
                return None
            try:
                line = json.loads(whole) if _is_small(whole) else None
            except (ValueError, RecursionError):  # text of another program, or nested too deep
                pass
            else:
                if isinstance(line, dict):
                    return line
        self.left_out += 1
        return None


def _is_small(line: bytes) -> bool:
    """Has it few values? What stands in strings, such as a program's text, is none."""
    if _values(line) <= MOST_VALUES:
        return True
    return len(line) <= _LOOKED_INTO and _values(_STRING.sub(b"", line)) <= MOST_VALUES


def _values(line: bytes) -> int:
    """At the most: before each but the first is one of these."""
    return sum(line.count(mark) for mark in (b",", b"[", b"{", b":"))
