"""The daemon's end of the control socket: who may connect, how much of it, and each request to its method."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from roommate.control import rpc
from roommate.control.frames import Frames, TooLong, framed
from roommate.control.listening import listen
from roommate.control.rpc import Flaw, Request
from roommate.errors import RoommateError
from roommate.words import JsonObject

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
MOST_REQUESTS = 16
"""Of one connection, in flight at the same time."""
PARKED_SECONDS = 5.0
"""How long a connection may be there without a whole request: programs on the same machine have no need to think."""
UNREAD_SECONDS = 60.0
"""How long an answer may wait to be read."""

_READ = 1 << 16
_ITEM = "item"
"""The notification that carries a piece of a request's stream."""


class Params(BaseModel):
    """The parameters of a method: what is not named in it is a mistake."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `uid` as the kernel says it."""

    uid: int
    pid: int
    tell: Callable[[Any], Awaitable[None]]
    """Send a piece of the answer ahead of it; returns when it is on its way."""
    after: Callable[[Callable[[], None]], None]
    """Do this when the answer is on its way: for what ends the daemon."""


class Act(Protocol):
    """Does what is asked; gives the result, in dataclasses or in what JSON has. Raises RoommateError."""

    async def __call__(self, params: Any, caller: Caller, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Method:
    act: Act
    params: type[Params] = Params
    seconds: float | None = 120.0
    """How long it may take; None for a stream."""


class Server:
    """`open` it, then `run` it. Methods may be added to `methods` at any time."""

    def __init__(self, path: Path, methods: Mapping[str, Method], refused: Callable[[int], Awaitable[None]]) -> None:
        """`refused` is told the user id of whoever is turned away."""
        self.methods = dict(methods)
        self._refused = refused
        self.starting = True
        """Methods may be missing still."""
        self._path = path
        self._listener: socket.socket | None = None
        self._connections = 0

    def open(self) -> None:
        """Raises StateError; see `listen`."""
        self._listener = listen(self._path)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Until cancelled."""
        assert self._listener is not None
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(self._listener)
                except OSError:  # out of file descriptors: others may give some back
                    await asyncio.sleep(1)
                    continue
                pid, uid = _peer(accepted)
                if uid not in (0, os.geteuid()):
                    log.warning("control: user %d (process %d) was turned away", uid, pid)
                    _turn_away(accepted, Flaw(rpc.NOT_PERMITTED, f"user {uid} may not control this daemon"))
                    await self._refused(uid)
                elif self._connections >= MOST_CONNECTIONS:
                    _turn_away(accepted, Flaw(rpc.BUSY, f"{MOST_CONNECTIONS} connections are open: try again"))
                else:
                    self._connections += 1
                    group.create_task(self._attend(accepted, uid, pid))

    async def _attend(self, accepted: socket.socket, uid: int, pid: int) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=accepted)
        try:
            await _Connection(self, reader, writer, uid, pid).run()
        except* OSError:
            pass  # it went away
        except* Exception:  # the daemon must survive whatever one connection does
            log.exception("control: a connection of user %d failed", uid)
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def answer(self, request: Request, caller: Caller) -> Any:
        """The result, as JSON has it. Raises Flaw."""
        method = self.methods.get(request.method)
        if method is None:
            if self.starting:
                raise Flaw(rpc.FAILED, "the daemon is starting: try again when it is ready", of=request.id)
            raise Flaw(rpc.METHOD_NOT_FOUND, f"there is no method {request.method!r}", of=request.id)
        try:
            params = method.params.model_validate(request.named())
        except ValidationError as error:
            raise Flaw(rpc.INVALID_PARAMS, rpc.flaws_of(error), of=request.id) from None
        try:
            async with asyncio.timeout(method.seconds):
                return plain(await method.act(params, caller))
        except TimeoutError:
            raise Flaw(rpc.FAILED, f"not done within {method.seconds:g} s", of=request.id) from None
        except RoommateError as error:
            raise Flaw(rpc.FAILED, str(error), {"exit_code": error.exit_code}, of=request.id) from error
        except Exception as error:
            log.exception("control: %s failed", request.method)
            raise Flaw(rpc.INTERNAL_ERROR, "something went wrong: the daemon's log has it", of=request.id) from error


class _Connection:
    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int, pid: int
    ) -> None:
        self._server = server
        self._reader, self._writer = reader, writer
        self._uid, self._pid = uid, pid
        self._in_flight: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until the other side hangs up, or has to be cut off. What it asked for and has not got is given up then."""
        frames = Frames()
        async with asyncio.TaskGroup() as group:
            try:
                await self._listen(group, frames)
            except TooLong as error:
                await self._send(Flaw(rpc.INVALID_REQUEST, str(error)).response())
            for task in self._in_flight:
                task.cancel()

    async def _listen(self, group: asyncio.TaskGroup, frames: Frames) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PARKED_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    piece = await self._reader.read(_READ)
            except TimeoutError:
                if self._in_flight and not frames.unfinished:
                    deadline = loop.time() + PARKED_SECONDS
                    continue
                return
            if not piece:
                return
            for content in frames.feed(piece):
                deadline = loop.time() + PARKED_SECONDS
                if len(self._in_flight) >= MOST_REQUESTS:
                    await self._send(Flaw(rpc.BUSY, f"{MOST_REQUESTS} requests are in flight already").response())
                    continue
                task = group.create_task(self._answer(content))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)

    async def _answer(self, content: bytes) -> None:
        """Everything that one frame asks for."""
        after: list[Callable[[], None]] = []
        try:
            requests, is_batch = rpc.parse(content)
        except Flaw as flaw:
            await self._send(flaw.response())
            return
        answers = [answer for one in requests if (answer := await self._answer_one(one, after)) is not None]
        if answers:
            await self._send(answers if is_batch else answers[0])
        for act in after:
            act()

    async def _answer_one(self, request: Request | Flaw, after: list[Callable[[], None]]) -> JsonObject | None:
        """The response; None for a notification."""
        if isinstance(request, Flaw):
            return request.response()

        async def tell(item: Any) -> None:
            if not request.is_notification:
                params = {"id": request.id, "item": plain(item)}
                await self._send({"jsonrpc": "2.0", "method": _ITEM, "params": params})

        try:
            answer = request.response(
                await self._server.answer(request, Caller(self._uid, self._pid, tell, after.append))
            )
        except Flaw as flaw:
            answer = flaw.response()
        return None if request.is_notification else answer

    async def _send(self, message: Any) -> None:
        """Raises OSError when the other side is gone, or does not read."""
        try:
            frame = framed(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
        except TooLong as error:
            of = message.get("id") if isinstance(message, dict) else None
            frame = framed(json.dumps(Flaw(rpc.FAILED, f"the answer is too long: {error}", of=of).response()).encode())
        async with self._sending:
            self._writer.write(frame)
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self._writer.drain()
            except TimeoutError:
                self._writer.transport.abort()
                raise ConnectionResetError("what was asked for is not read") from None


def plain(value: Any) -> Any:
    """Dataclasses as JSON objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _peer(accepted: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED)."""
    pid, uid, _ = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _turn_away(accepted: socket.socket, why: Flaw) -> None:
    """Say why, as far as that goes without waiting, and hang up."""
    with accepted, contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(framed(json.dumps(why.response()).encode()))
