"""The daemon's end of the control socket: who may connect, and how many at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from roommate import logs
from roommate.control import method, rpc
from roommate.control.connection import Connection
from roommate.control.frames import framed
from roommate.control.method import Caller, Method
from roommate.control.rpc import Flaw, Request
from roommate.control.socket_file import listen

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64


class Server:
    """`open` it, then `run` it, at first with those that are `known`."""

    def __init__(self, path: Path, known: Mapping[str, Method], refused: Callable[[int], Awaitable[None]]) -> None:
        """`refused` is told the user id of whoever is turned away."""
        self._methods = dict(known)
        self._refused = refused
        self._starting = True
        self._path = path
        self._listener: socket.socket | None = None
        self._connections = 0
        self._numbers = itertools.count(1)

    def open(self) -> None:
        """Raises StateError; see `listen`."""
        self._listener = listen(self._path)

    def complete(self, methods: Mapping[str, Method]) -> None:
        """These are all the others that there are; until now they were missing because the daemon was starting."""
        self._methods |= methods
        self._starting = False

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
        try:
            reader, writer = await asyncio.open_unix_connection(sock=accepted)
            try:
                await Connection(self._answer, reader, writer, uid, pid).run()
            finally:
                writer.transport.abort()
        except* OSError:
            pass  # it went away
        except* Exception:  # the daemon must survive whatever one connection does
            log.exception("control: a connection of user %d failed", uid)
        finally:
            self._connections -= 1

    async def _answer(self, request: Request, caller: Caller) -> Any:
        with logs.about(request=next(self._numbers)):
            return await method.answer(self._methods, request, caller, starting=self._starting)


def _peer(accepted: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (unix(7), SO_PEERCRED)."""
    pid, uid, _ = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _turn_away(accepted: socket.socket, why: Flaw) -> None:
    """Say why, as far as that goes without waiting, and hang up."""
    with accepted, contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(framed(json.dumps(why.response()).encode()))
