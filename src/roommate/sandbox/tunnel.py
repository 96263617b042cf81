"""The daemon's end of one tunnel: a connection that a process in the container made to a port that is served here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from roommate.errors import HandLost
from roommate.sandbox.channel import Line
from roommate.sandbox.inside.frames import (
    CHUNK,
    COST,
    CREDIT,
    DATA,
    END,
    KILL,
    RESULT,
    WINDOW,
    BadFrame,
    credit,
    credited,
    frame,
)

LINGER = 5.0
"""Seconds that a tunnel closed here has for what was written to be taken by the other end."""


class Tunnel:
    """`ports.Tunnel`. One task reads and one writes, at most; what is not read holds back the sender."""

    def __init__(self, line: Line, number: int, ask: Callable[[int], Awaitable[str]]) -> None:
        """`ask` tells of a tunnel by its number who opened it."""
        self.broken: Callable[[], None] = lambda: None
        """Called when the other side ended it before its time."""
        self._line, self._number, self._ask = line, number, ask
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._held = self._used = 0
        """Credit that was taken: by what lies here, and by what its reader has taken."""
        self._allowed = self._window = WINDOW
        self._eof = self._ended = self._closed = self._over = False
        """No more comes; no more goes; nobody here wants it any more; the hand knows nothing of it any more."""
        self._lost = ""
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
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
        used = len(piece) if self._received else self._held  # what frames cost beyond their bytes comes with the last
        self._used += used
        self._held -= used
        if self._used >= WINDOW // 2 and not self._eof:
            self._line.write(credit(self._number, self._used))
            self._allowed += self._used
            self._used = 0
        return piece

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way. Raises HandLost when the tunnel broke, or was closed or ended here."""
        unsent = memoryview(data)
        while unsent:
            self._check()
            if self._ended:
                raise HandLost("this end of the tunnel was closed")
            if self._window <= COST or self._line.full:
                self._writer = self._loop.create_future()
                try:
                    await self._writer
                finally:
                    self._writer = None
                continue
            piece = unsent[: min(CHUNK, self._window - COST)]
            unsent = unsent[len(piece) :]
            self._window -= len(piece) + COST
            self._line.write(frame(DATA, self._number, piece))

    async def caller(self) -> str:
        """See `ports.Tunnel`."""
        self._check()
        return await self._ask(self._number)

    def end(self) -> None:
        """No more is written; the other end reads to the end of what was."""
        if not (self._ended or self._over):
            self._ended = True
            self._line.write(frame(END, self._number))
            self._wake()

    def close(self) -> None:
        """Nobody here wants this any more: what was written is still delivered, within some seconds."""
        if not (self._closed or self._over):
            self.end()
            self._closed = True
            self._received.clear()
            self._timer = self._loop.call_later(LINGER, self.abort)
            self._wake()

    def abort(self) -> None:
        """Close it at once."""
        if not self._over:
            self._ended = self._closed = True
            self._received.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._line.write(frame(KILL, self._number))
            self._timer = self._loop.call_later(self._line.patience, self._line.overdue, self._number)
            self._wake()

    # ── For the connection ──

    def send(self) -> None:
        """There is room on the line again."""
        self._wake()

    def took(self, kind: int, payload: bytearray) -> bool:
        """A frame of this tunnel came; whether it was the last one. Raises BadFrame."""
        if kind == DATA:
            self._allowed -= len(payload) + COST
            if self._allowed < 0 or not payload or self._eof:
                raise BadFrame("bytes beyond a tunnel's credit")
            if not self._closed:
                self._received += payload
                self._held += len(payload) + COST
        elif kind == CREDIT:
            self._window += credited(payload)
            if self._window > WINDOW or not any(payload):
                raise BadFrame("credit for what was never sent")
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
        self._wake()
        return False

    def lose(self, why: str) -> None:
        """It is over; `why` is empty when it ended well."""
        self._over, self._lost = True, why
        if self._timer is not None:
            self._timer.cancel()
        self._wake()
        if why:
            self._received.clear()
            self.broken()

    def _check(self) -> None:
        if self._lost:
            raise HandLost(self._lost)
        if self._closed:
            raise HandLost("this tunnel was closed")

    def _wake(self) -> None:
        for waiter in (self._reader, self._writer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
