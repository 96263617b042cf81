"""Bytes as they come, cut into lines of JSON, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator

from roommate.words import JsonObject

LONGEST = 4 << 20
"""Bytes of a line; one that is longer is left out and counted."""


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
                line = json.loads(whole)
            except (ValueError, RecursionError):  # text of another program, or nested too deep
                pass
            else:
                if isinstance(line, dict):
                    return line
        self.left_out += 1
        return None
