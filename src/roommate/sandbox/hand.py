"""The daemon's end of a room's hand: listens for it, and is the room's `ports.Hand`.

The other end is in `inside`; `program` gives its text. The stream's frames and its flow control are told in `frames`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket as sockets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from roommate.errors import HandLost, SandboxError, ToolError
from roommate.sandbox.answers import Answer, Done, Ended, JobState, JobStates, Refused, Size, Total, entries
from roommate.sandbox.connection import Connection, Take
from roommate.sandbox.inside.frames import MAX_FRAME, VERSION
from roommate.sandbox.tunnel import Tunnel
from roommate.words import DirEntry, Exit, FileSlice, Job

log = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.05
"""Seconds between two that dial in, so that a container that dials for fun cannot keep the daemon busy."""
FILE_TIME = 60.0
"""Seconds that reading, writing or listing may take in all."""
LIST_BYTES = 16 << 20

_MODULES = (
    "frames",
    "loop",
    "family",
    "record",
    "command",
    "calls",
    "globs",
    "files",
    "jobs",
    "callers",
    "tunnels",
    "stream",
    "hand",
)
_LOADER = """\
# The hand, all its modules in one file. Run as: python3 -I -S hand.py SOCKET [WORKSPACE]
import sys

def load(name, text):
    module = sys.modules["roommate.sandbox.inside." + name] = type(sys)(name)
    exec(compile(text, name + ".py", "exec", dont_inherit=True), module.__dict__)
    return module

"""


def program() -> bytes:
    """The program that a room's container runs: the modules of `inside` as one file, each a module still."""
    folder = Path(__file__).parent / "inside"
    loads = [f"load({name!r}, {(folder / f'{name}.py').read_text('utf-8')!r})" for name in _MODULES]
    return (_LOADER + "\n".join(loads) + ".main()\n").encode()


A = TypeVar("A", bound=Answer)


class HandHost:
    """`ports.Hand` for one room. Listens on `socket`; the newest hand that dials in there is the room's.

    The socket is open to everybody (0666): the folder it is in is the wall.
    A hand that is `patience` seconds late with the end of a call, or with a sign of life when nothing was heard of it
    for `silence` seconds (something in the room may have stopped it), is taken for dead: calls raise HandLost.
    """

    def __init__(self, socket: Path, *, patience: float = 15.0, silence: float = 5.0) -> None:
        self.last_used = 0.0
        """When a call began or ended last, as loop.time(); calls in flight are `busy`."""
        self.losses = 0
        """How many connections in a row were lost in mid-call, with no call that came to its end since."""
        self._missed: Connection | None = None
        self._socket, self._patience, self._silence = socket, patience, silence
        self._listener: sockets.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._dialled: set[Connection] = set()
        self._connection: Connection | None = None
        self._served: dict[int, Callable[[Tunnel], Awaitable[None]]] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._here = asyncio.Event()
        self._why = "the room's hand has not dialled in"

    # ── Its life ──

    async def open(self) -> None:
        """Listen. Raises SandboxError where that is not possible."""
        listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        listener.setblocking(False)
        try:
            self._socket.unlink(missing_ok=True)
            listener.bind(str(self._socket))
            self._socket.chmod(0o666)
            listener.listen(8)
        except OSError as error:
            listener.close()
            raise SandboxError(f"cannot listen on {self._socket} ({error}): a shorter IPC_BASE_DIR may help") from error
        self._listener = listener
        loop = asyncio.get_running_loop()
        self.last_used = loop.time()
        self._accepting = loop.create_task(self._accept(listener), name=f"accept {self._socket}")

    async def connected(self, timeout: float) -> None:
        """Wait until the hand has dialled in, `timeout` seconds at most. Raises HandLost."""
        try:
            async with asyncio.timeout(timeout):
                await self._here.wait()
        except TimeoutError:
            raise HandLost(f"{self._why} (waited {timeout:g} s)") from None

    async def close(self) -> None:
        """Hang up and stop listening. What runs in the background in the container goes on."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._socket.unlink(missing_ok=True)
        for connection in list(self._dialled):
            connection.fail("the daemon has let go of this room")
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)

    def serve(self, port: int, handler: Callable[[Tunnel], Awaitable[None]]) -> None:
        """From now on each connection to this port of 127.0.0.1 in the container, a tunnel, gets its `handler`.

        The tunnel is closed when its handler returns. A handler that raises harms nobody but its tunnel.
        """
        self._served[port] = handler
        if self._connection is not None:
            self._connection.listen(port)

    @property
    def here(self) -> bool:
        """Has it dialled in, and not gone?"""
        return self._connection is not None

    @property
    def busy(self) -> bool:
        """Are calls in flight?"""
        return self._connection is not None and self._connection.busy

    async def _accept(self, listener: sockets.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                dialled, _ = await loop.sock_accept(listener)
                await loop.connect_accepted_socket(self._dialled_in, dialled)
            except OSError:  # out of file descriptors: others may give some back
                await asyncio.sleep(1)
            await asyncio.sleep(ACCEPT_PAUSE)

    def _dialled_in(self) -> Connection:
        connection = Connection(self._arrived, self._opened, self._gone, self._patience, self._silence)
        self._dialled.add(connection)
        return connection

    def _arrived(self, connection: Connection, version: int) -> None:
        if version != VERSION:
            self._why = f"the room's hand speaks version {version}, not {VERSION}: its container must be made anew"
            connection.fail(self._why)
            return
        older, self._connection = self._connection, connection
        if older is not None:
            older.fail("another hand dialled in and took this one's place")
        for port in self._served:
            connection.listen(port)
        self._here.set()

    def _opened(self, port: int, tunnel: Tunnel) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(port, tunnel), name=f"tunnel to {port}")
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _handle(self, port: int, tunnel: Tunnel) -> None:
        try:
            await self._served[port](tunnel)
        except HandLost:
            pass  # the process in the room, or the room, went away
        except Exception:  # a room must survive whatever one connection does
            log.exception("%s: a tunnel to port %d failed", self._socket, port)
        finally:
            tunnel.close()

    def _gone(self, connection: Connection, why: str) -> None:
        self._dialled.discard(connection)
        if connection is self._connection:
            self._connection, self._why = None, why
            self._here.clear()

    # ── ports.Hand ──

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = "/workspace",
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        on_output: Callable[[bytes], Awaitable[None] | None] = lambda _: None,
        spill_after: int | None = None,
    ) -> Exit:
        """See `ports.Hand`. At the timeout, and on cancelling, all that the command started gets SIGTERM, and SIGKILL a
        second later; cancelling does not wait for that. What a command that ended by itself left running goes on.
        Processes that outlive it and hold its output open delay the Exit by a second at most. ``Exit.spilled`` is
        relative to the workspace."""
        ended = await self._ask(
            Ended,
            take=on_output,
            content=stdin or None,
            within=timeout,
            op="run",
            command=command if isinstance(command, str) else list(command),
            cwd=cwd,
            env=env or {},
            stdin=bool(stdin),
            timeout=timeout,
            spill_after=spill_after,
        )
        return ended.word()

    async def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> FileSlice:
        """See `ports.Hand`. Regular files only: a FIFO or a device is a ToolError."""
        content = bytearray()

        def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > limit:
                raise self._broken("more of a file than was asked for")

        size = await self._ask(Size, take=take, within=FILE_TIME, op="read", path=path, offset=offset, limit=limit)
        return FileSlice(bytes(content), size.size)

    async def write(self, path: str, content: bytes) -> None:
        """See `ports.Hand`. Symbolic links are followed, inside the container."""
        await self._ask(Done, content=content, within=FILE_TIME, op="write", path=path)

    async def list(self, path: str, pattern: str | None = None, limit: int = 1000) -> tuple[list[DirEntry], int]:
        """See `ports.Hand`. Paths are relative to `path`; a pattern without a slash is about names at any depth."""
        text = bytearray()

        def take(piece: bytes) -> None:
            text.extend(piece)
            if len(text) > LIST_BYTES:
                raise self._broken("a list without an end")

        total = await self._ask(Total, take=take, within=FILE_TIME, op="list", path=path, pattern=pattern, limit=limit)
        try:
            return entries(bytes(text), limit), total.total
        except ValueError:
            raise self._broken("a list that is none") from None

    async def start_job(self, command: str, *, cwd: str = "/workspace") -> Job:
        return (await self._ask(JobState, within=FILE_TIME, op="start_job", command=command, cwd=cwd)).word()

    async def job(self, job_id: str) -> Job:
        return (await self._ask(JobState, within=FILE_TIME, op="job", id=job_id)).word()

    async def jobs(self) -> Sequence[Job]:
        return [state.word() for state in (await self._ask(JobStates, within=FILE_TIME, op="jobs")).jobs]

    async def stop_job(self, job_id: str) -> Job:
        return (await self._ask(JobState, within=FILE_TIME, op="stop_job", id=job_id)).word()

    async def _ask(
        self,
        answer: type[A],
        *,
        take: Take = lambda _: None,
        content: bytes | None = None,
        within: float | None,
        **request: Any,
    ) -> A:
        if (connection := self._connection) is None:
            raise HandLost(self._why)
        try:
            text = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise ToolError("this is not valid Unicode text") from None
        if len(text) > MAX_FRAME:
            raise ToolError("arguments are too long (128 KiB at most): put them into a file")
        loop = asyncio.get_running_loop()
        self.last_used = loop.time()
        try:
            result = await connection.call(text, content, within).finish(take)
            self.losses = 0
        except HandLost:
            if connection is not self._missed:
                self._missed, self.losses = connection, self.losses + 1
            raise
        finally:
            self.last_used = loop.time()
        try:
            if (refused := Refused.model_validate_json(result)).error is not None:
                raise ToolError(refused.error)
            return answer.model_validate_json(result)
        except ValidationError:
            raise self._broken(f"an answer that is none to {request['op']}") from None

    def _broken(self, what: str) -> HandLost:
        """The hand sent nonsense: hang up."""
        why = f"the room's hand broke the protocol: {what}"
        if self._connection is not None:
            self._connection.fail(why)
        return HandLost(why)
