"""What the calls and tunnels of one connection to a hand have of it."""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    patience: float
    """Seconds beyond its time in which the hand has to end what goes through here."""

    @property
    def full(self) -> bool:
        """So much waits for the hand to take it that no more bytes should be written, whatever credit it gave."""
        ...

    def write(self, data: bytes) -> None:
        """Write frames; they may wait here."""
        ...

    def overdue(self, call: int) -> None:
        """The hand should have ended this long ago: is it there at all?"""
        ...
