"""The daemon's end of one tunnel: a connection that a process in the container made to a port that is served here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from roommate.domain import Program
from roommate.errors import HandLost
from roommate.sandbox.flow_controlled_writer import Channel, Line
from roommate.sandbox.inside.frames import CHUNK, CREDIT, DATA, END, KILL, RESULT, BadFrame, frame

LINGER = 5.0
"""Seconds that a tunnel closed here has for what was written to be taken by the other end."""


class Tunnel(Channel):
    """`Tunnel`. One task reads and one writes, at most; what is not read holds back the sender."""

    def __init__(self, line: Line, number: int, ask: Callable[[int], Awaitable[Program]]) -> None:
        """`ask` tells of a tunnel by its number who opened it."""
        self.broken: Callable[[], None] = lambda: None
        """Called when the other side ended it before its time."""
        super().__init__(line, number)
        self._ask = ask
        self._received = bytearray()
        self._eof = self._closed = self._over = False
        """No more comes; nobody here wants it any more; the hand knows nothing of it any more."""
        self._lost = ""
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """Some of what came since, b"" when no more comes. Raises HandLost when the tunnel broke."""
        while not self._received:
            self._check()
            if self._eof:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = bytes(self._received[:CHUNK])
        del self._received[:CHUNK]
        self._incoming.used(len(piece) if self._received else self._incoming.held)
        return piece

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way. Raises HandLost when the tunnel broke, or was closed or ended here."""
        self._check()
        if self._ended:
            raise HandLost("this end of the tunnel was closed")
        await super().write(data)
        self._check()

    async def caller(self) -> Program:
        """See `Tunnel`."""
        self._check()
        return await self._ask(self.number)

    def close(self) -> None:
        """Nobody here wants this any more: what was written is still delivered, within some seconds."""
        if not (self._closed or self._over):
            self._closed = True
            self._unsent = memoryview(b"")
            self.end()
            self._received.clear()
            self._timer = self._loop.call_later(LINGER, self.abort)
            self._wake(self._reader)

    def abort(self) -> None:
        """Close it at once."""
        if not self._over:
            self._closed = True
            self._silence()
            self._received.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._line.write(frame(KILL, self.number))
            self._timer = self._loop.call_later(self._line.patience, self._line.overdue, self.number)
            self._wake(self._reader)

    # ── For the connection ──

    def took(self, kind: int, payload: bytearray) -> bool:
        """A frame of this tunnel came; whether it was the last one. Raises BadFrame."""
        if kind == DATA:
            self._incoming.came(len(payload))
            if self._eof:
                raise BadFrame("bytes behind the end of a tunnel")
            if not self._closed:
                self._received += payload
        elif kind == CREDIT:
            self._outgoing.credited(payload)
            self.send()
        elif kind == END:
            if self._eof:
                raise BadFrame("a second end of a tunnel")
            self._eof = True
        elif kind == RESULT:
            whole = self._eof and self._ended
            self.lose("" if whole else "the process in the room closed the connection")
            return True
        else:
            raise BadFrame(f"no such kind of frame: {kind}")
        self._wake(self._reader)
        return False

    def lose(self, why: str) -> None:
        """It is over; `why` is empty when it ended well."""
        self._over, self._lost = True, why
        if self._timer is not None:
            self._timer.cancel()
        self._silence()
        self._wake(self._reader)
        if why:
            self._received.clear()
            self.broken()

    def _check(self) -> None:
        if self._lost:
            raise HandLost(self._lost)
        if self._closed:
            raise HandLost("this tunnel was closed")
