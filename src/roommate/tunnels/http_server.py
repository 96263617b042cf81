"""HTTP on a tunnel: a connection of a room goes straight into aiohttp's server, with no socket in between."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError

from roommate.domain import RoomId
from roommate.errors import HandLost
from roommate.host import deadlines
from roommate.net.token_bucket import Allowance
from roommate.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    from aiohttp import web

KEEP_SECONDS = 75
"""How long a connection may be without a request."""

UNSENT = 1 << 18
"""Bytes that wait for the tunnel at which whoever writes has to wait as well."""
PIECE = 1 << 14
"""Bytes that are understood at once: of chunks of one byte this takes milliseconds."""
HEADERS = 64
"""Fields of a request. Said in few bytes they take fifty times as many here, and 32 requests of a connection wait."""

REQUESTS_AT_ONCE, REQUESTS_A_SECOND = 500, 100
"""What is answered of a room's requests. Each takes half a millisecond of the daemon, and be it to refuse it."""


class _Turns:
    """Of one room's requests: what is beyond its allowance waits, first come, first served, and so does who sent it."""

    def __init__(self) -> None:
        self._allowance = Allowance(REQUESTS_AT_ONCE, REQUESTS_A_SECOND)
        self._first = asyncio.Lock()

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._first:
            if not self._allowance.take(1, loop.time()):
                await asyncio.sleep(1 / REQUESTS_A_SECOND)  # then there is one
            self._allowance.used(1)


class Servers:
    """Of all rooms, one for each: what a room asks is handled as asked by it."""

    def __init__(self, handle: Callable[[RoomId, web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._handle = handle
        self._servers: dict[RoomId, web.Server] = {}

    async def serve(self, room_id: RoomId, tunnel: Tunnel) -> None:
        """One connection, with as many requests as it likes. Raises HandLost.

        It costs nothing before its first byte; it ends when all that it began here has ended.
        """
        try:
            async with deadlines.within(KEEP_SECONDS):
                first = await tunnel.read()
        except TimeoutError:
            return
        if not first:
            return
        if room_id not in self._servers:
            from aiohttp import web  # half of aiohttp, which a start is spared

            handler = functools.partial(self._counted, room_id, _Turns())
            self._servers[room_id] = web.Server(
                handler,
                access_log=None,
                logger=_logger(),
                keepalive_timeout=KEEP_SECONDS,
                handler_cancellation=True,
                max_headers=HEADERS,
                auto_decompress=False,  # bodies are passed on as they are, and their headers say how that is
            )
        await _Transport(tunnel, self._servers[room_id]()).run(first)

    async def _counted(self, room_id: RoomId, turns: _Turns, request: web.BaseRequest) -> web.StreamResponse:
        with _transport_of(request).answering():
            await turns.wait()
            return await self._handle(room_id, request)

    async def close(self) -> None:
        for server in self._servers.values():
            await server.shutdown(1)


def tunnel_of(request: web.BaseRequest) -> Tunnel:
    """Which tunnel a request came through. Raises HandLost when that is gone."""
    return _transport_of(request).tunnel


def _transport_of(request: web.BaseRequest) -> _Transport:
    if not isinstance(request.transport, _Transport):
        raise HandLost("the process in the room closed the connection")
    return request.transport


def _logger() -> logging.Logger:
    """For what fails in aiohttp's server: that a room speaks no HTTP is no failure of the daemon's."""
    logger = logging.getLogger("aiohttp.rooms")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


class _Transport(asyncio.Transport):
    """Of one connection: what aiohttp's server needs of a transport, on a tunnel."""

    def __init__(self, tunnel: Tunnel, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.tunnel, self._protocol = tunnel, protocol
        self._unsent: list[bytes] = []
        self._size = 0
        self._waiting = self._closing = False
        self._reads, self._wakes = asyncio.Event(), asyncio.Event()
        self._reads.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """A request is being answered: one at a time."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    async def run(self, first: bytes) -> None:
        self._protocol.connection_made(self)
        loop = asyncio.get_running_loop()
        up, down = loop.create_task(self._up(first)), loop.create_task(self._down())
        try:
            # A client that has hung up, or half of it, wants no answer any more.
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._closing = True
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            self._protocol.connection_lost(None)
            await self._idle.wait()

    async def _up(self, first: bytes) -> None:
        came = first
        while came:
            for start in range(0, len(came), PIECE):
                if start:
                    await asyncio.sleep(0)  # others get their turn
                self._protocol.data_received(came[start : start + PIECE])
                await self._reads.wait()
            came = await self.tunnel.read()

    async def _down(self) -> None:
        while self._unsent or not self._closing:
            if not self._unsent:
                self._wakes.clear()
                await self._wakes.wait()
            pieces, self._unsent = b"".join(self._unsent), []
            await self.tunnel.write(pieces)
            self._size -= len(pieces)
            if self._waiting and self._size < UNSENT // 2:
                self._waiting = False
                self._protocol.resume_writing()

    # ── For the protocol ──

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing:
            self._unsent.append(bytes(data))
            self._size += len(data)
            self._wakes.set()
            if self._size > UNSENT and not self._waiting:
                self._waiting = True
                self._protocol.pause_writing()

    def pause_reading(self) -> None:
        self._reads.clear()

    def resume_reading(self) -> None:
        self._reads.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written still goes out."""
        self._closing = True
        self._wakes.set()

    def abort(self) -> None:
        self._unsent.clear()
        self.close()
