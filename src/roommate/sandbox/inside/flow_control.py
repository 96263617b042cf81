"""The flow control of one call or tunnel in one direction, as `frames` tells it. Both ends use this module."""

from __future__ import annotations

from roommate.sandbox.inside.frames import CHUNK, COST, WINDOW, BadFrame, credit, credited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 4096
"""Bytes that the next frame waits for: a few each time that credit comes would cost as much as many."""


class Outgoing:
    """What the sender may still send."""

    def __init__(self) -> None:
        self._left = WINDOW

    @property
    def room(self) -> int:
        """How many bytes the next frame may have; 0 until credit comes."""
        room = min(CHUNK, self._left - COST)
        return room if room >= LEAST else 0

    def sent(self, size: int) -> None:
        self._left -= size + COST

    def credited(self, payload: bytearray) -> None:
        """A CREDIT frame came. Raises BadFrame."""
        size = credited(payload)
        self._left += size
        if self._left > WINDOW or size == 0:
            raise BadFrame("credit for what was never sent")


class Incoming:
    """What the receiver holds and has used; the credit for it is given back in large pieces."""

    def __init__(self, number: int, write: Callable[[bytes], None], large: int = WINDOW // 2) -> None:
        """`write` sends a frame to the other end; `large` is what is given back at once."""
        self._number, self._write, self._large = number, write, large
        self.held = 0
        """What the bytes that lie here cost, and their frames."""
        self._allowed = WINDOW
        self._used = 0

    def came(self, size: int) -> None:
        """A frame with so many bytes. Raises BadFrame."""
        self.held += size + COST
        self._allowed -= size + COST
        if self._allowed < 0 or size == 0:
            raise BadFrame("bytes beyond their credit")

    def used(self, cost: int) -> None:
        """So much of what is held: bytes, and when none is left what their frames cost."""
        self.held -= cost
        self._used += cost
        if self._used >= self._large:
            self._write(credit(self._number, self._used))
            self._allowed += self._used
            self._used = 0
