"""Output of any length in bounded memory: its head and its tail are kept, the middle is counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Excerpt:
    """`head` and `tail` of what was `size` bytes; `left_out` bytes and `left_out_lines` ends of lines between them.

    Where nothing is left out `tail` goes on where `head` ends. Else both are cut at an end of line where there is one
    near, and in any case not within a UTF-8 character.
    """

    head: bytes
    tail: bytes
    size: int
    left_out: int
    left_out_lines: int


class Bounded:
    """`add` what comes, see the `excerpt` at any time. `head` and `tail` are how many bytes of each are kept."""

    def __init__(self, head: int, tail: int) -> None:
        self._head_room = head
        self._tail_room = tail
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._lines = 0

    @property
    def lines(self) -> int:
        """Ends of lines that came."""
        return self._lines

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._lines += piece.count(b"\n")
        if room := self._head_room - len(self._head):
            self._head += piece[:room]
            piece = piece[room:]
        if self._tail_room:
            self._tail += piece[-self._tail_room :]
            if len(self._tail) > 2 * self._tail_room:
                del self._tail[: -self._tail_room]

    def excerpt(self) -> Excerpt:
        if self._size <= self._head_room + self._tail_room:
            return Excerpt(bytes(self._head), bytes(self._tail), self._size, 0, 0)
        head = _cut_end(bytes(self._head))
        tail = _cut_start(bytes(self._tail[-self._tail_room :]) if self._tail_room else b"")
        return Excerpt(
            head,
            tail,
            self._size,
            self._size - len(head) - len(tail),
            self._lines - head.count(b"\n") - tail.count(b"\n"),
        )


def _cut_end(head: bytes) -> bytes:
    """Without the last, broken line; where that would be more than half, without the last, broken character only."""
    end = head.rfind(b"\n") + 1
    if end > len(head) // 2:
        return head[:end]
    return head[: len(head) - begun(head)]


def begun(piece: bytes) -> int:
    """How many bytes at its end are a UTF-8 character that has only begun."""
    for back in range(1, min(3, len(piece)) + 1):
        byte = piece[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            break
    return 0


def _cut_start(tail: bytes) -> bytes:
    start = tail.find(b"\n") + 1
    if 0 < start <= len(tail) // 2:
        return tail[start:]
    for start in range(min(4, len(tail))):
        if tail[start] & 0b1100_0000 != 0b1000_0000:  # not the middle of a character
            return tail[start:]
    return tail
