"""What the daemon's ends of a call and of a tunnel have in common: a line, and bytes that wait for credit."""

from __future__ import annotations

import asyncio
from typing import Protocol

from roommate.sandbox.inside.flow_control import Incoming, Outgoing
from roommate.sandbox.inside.frames import DATA, END, frame


class Line(Protocol):
    """What the calls and tunnels of one connection to a hand have of it."""

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


class Channel:
    """One of them: what one task writes goes out as the other end gives credit for it and the line has room."""

    def __init__(self, line: Line, number: int) -> None:
        self.number = number
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._outgoing, self._incoming = Outgoing(), Incoming(number, line.write)
        self._unsent = memoryview(b"")
        self._ended = False
        """No more is written: END goes out behind what is unsent."""
        self._silent = False
        """No more goes out."""
        self._writer: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way, or none of the rest will be."""
        if not self._ended:
            self._unsent = memoryview(data)
            self._writer = self._loop.create_future()
            try:
                self.send()
                await self._writer
            finally:
                self._unsent, self._writer = memoryview(b""), None

    def end(self) -> None:
        """No more is written; the other end reads to the end of what was."""
        self._ended = True
        self.send()

    def send(self, first: bytes = b"") -> None:
        """Write `first`, and what there is of bytes, credit, and room on the line."""
        frames = [first] if first else []
        while self._unsent and not self._line.full and (room := self._outgoing.room):
            piece, self._unsent = self._unsent[:room], self._unsent[room:]
            self._outgoing.sent(len(piece))
            frames.append(frame(DATA, self.number, piece))
        if self._ended and not self._unsent and not self._silent:
            self._silent = True
            frames.append(frame(END, self.number))
        if frames:
            self._line.write(b"".join(frames))
        if not self._unsent:
            self._wake(self._writer)

    def _silence(self) -> None:
        """What is unsent will not be wanted."""
        self._ended = self._silent = True
        self._unsent = memoryview(b"")
        self._wake(self._writer)

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
