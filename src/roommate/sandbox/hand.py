"""The daemon's end of a room's hand: listens for it, and is the room's `Hand`.

The other end is in `inside`; `program` gives its text. The stream's frames and its flow control are told in `frames`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from roommate.domain import Clock, DirEntry, Exit, FileSlice, Job, Located, ShellLook, Take
from roommate.errors import HandLost, SandboxError, ToolError
from roommate.host import deadlines
from roommate.sandbox.answers import CallRefused, Done, Ended, Found, JobState, JobStates, Looked, Size, Total, entries
from roommate.sandbox.bounded_tunnel_handlers import Handlers
from roommate.sandbox.call import Call
from roommate.sandbox.connection import Connection
from roommate.sandbox.inside.frames import MAX_FRAME, VERSION
from roommate.sandbox.interactive_program import Session
from roommate.sandbox.tunnel import Tunnel

log = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds between two that dial in: a container that dials for fun cannot keep the daemon busy."""
CALM = 20.0
"""The pause doubles with each that dials in within so many seconds of the one before."""
SHORTEST_REST = 1.0
"""Seconds that a command has at least when people have decided what it waited for."""
LARGEST_FILE = 1 << 62
FILE_TIME = 60.0
"""Seconds that reading, writing or listing may take in all."""
LIST_BYTES = 1 << 19
"""Of the text of a listing: to understand more of it at once would hold up all rooms."""
BAD_ANSWERS = 3
"""In a row; then it is not this call that is wrong, but the hand."""

_MODULES = (
    "frames",
    "flow_control",
    "event_loop",
    "cgroup_limits",
    "shortage",
    "process_family",
    "kill_tree",
    "output_files",
    "path_resolution",
    "spill",
    "output_reader",
    "command",
    "command_queue",
    "terminal",
    "daemon_connection",
    "call",
    "run_command_call",
    "shell",
    "glob_matcher",
    "files",
    "locate",
    "job_notes",
    "jobs",
    "find_connection_owner",
    "tunnels",
    "hand",
)
_LOADER = """\
# The hand, all its modules in one file. Run as: python3 -I -S hand.py [--keep] SOCKET|fd:N [WORKSPACE HOME]
import sys

def load(name, text):
    module = sys.modules["roommate.sandbox.inside." + name] = type(sys)(name)
    exec(compile(text, name + ".py", "exec", dont_inherit=True), module.__dict__)
    return module

"""
_KEEP = """\
if sys.argv[1] == "--keep":
    del sys.argv[1]
    keeper.keep()
"""


def program() -> bytes:
    """The program that a room's container runs: the modules of `inside` as one file, each a module still."""
    folder = Path(__file__).parent / "inside"
    keeper, *loads = (
        f"load({name!r}, {(folder / f'{name}.py').read_text('utf-8')!r})" for name in ("keeper", *_MODULES)
    )
    return (_LOADER + f"keeper = {keeper}\n" + _KEEP + "\n".join(loads) + ".main(*sys.argv[1:])\n").encode()


A = TypeVar("A")


class HandHost:
    """`Hand` for one room. Listens on `socket`; the newest hand that dials in there is the room's.

    The socket is open to everybody (0666): the folder it is in is the wall.
    A hand that is `patience` seconds late with the end of a call, or with a sign of life when nothing was heard of it
    for `silence` seconds (something in the room may have stopped it), is taken for dead: calls raise HandLost.
    """

    def __init__(self, socket: Path, *, patience: float = 15.0, silence: float = 5.0) -> None:
        self.last_used = 0.0
        """When a call began or ended last, as loop.time(); calls in flight are `busy`."""
        self.losses = 0
        """How many connections in a row were lost, over which no call came to a good end."""
        self._missed: Connection | None = None
        self._proven: Connection | None = None
        self._socket, self._patience, self._silence = socket, patience, silence
        self._listener: sockets.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._dialled: set[Connection] = set()
        self._connection: Connection | None = None
        self._bad_answers = 0
        self._handlers = Handlers(str(socket))
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

    async def talk(self, connection: sockets.socket) -> None:
        """With the one hand at the other end of this, instead of listening."""
        await asyncio.get_running_loop().connect_accepted_socket(self._dialled_in, connection)

    async def connected(self, timeout: float) -> None:
        """Wait until the hand has dialled in, `timeout` seconds at most. Raises HandLost."""
        try:
            async with deadlines.within(timeout):
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
        await self._handlers.close()

    def serve(self, port: int, handler: Callable[[Tunnel], Awaitable[None]]) -> None:
        """From now on each connection to this port of 127.0.0.1 in the container, a tunnel, gets its `handler`.

        The tunnel is closed when its handler returns. A handler that raises harms nobody but its tunnel.
        """
        self._handlers.serve(port, handler)
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
        pause, before = SHORTEST_PAUSE, -math.inf
        while True:
            try:
                dialled, _ = await loop.sock_accept(listener)
                await loop.connect_accepted_socket(self._dialled_in, dialled)
            except OSError:  # out of file descriptors: others may give some back
                await asyncio.sleep(1)
            now = loop.time()
            pause = SHORTEST_PAUSE if now - before > CALM else min(2 * pause, LONGEST_PAUSE)
            before = now
            await asyncio.sleep(pause)

    def _dialled_in(self) -> Connection:
        connection = Connection(self._arrived, self._handlers.take, self._gone, self._patience, self._silence)
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
        for port in self._handlers.ports:
            connection.listen(port)
        self._here.set()

    def _gone(self, connection: Connection, why: str) -> None:
        self._dialled.discard(connection)
        if connection is self._connection:
            self._connection, self._why = None, why
            self._here.clear()
            if connection is not self._proven:  # whoever waited for it may have come too late to call
                self._lost(connection)

    # ── `Hand` ──

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = "/workspace",
        env: dict[str, str] | None = None,
        alone: bool = False,
        stdin: bytes = b"",
        timeout: float | None = None,
        on_output: Take = lambda _: None,
        on_errors: Take | None = None,
        spill_after: int | None = None,
        clock: Clock | None = None,
        called: str = "",
    ) -> Exit:
        """See `Hand`. At the timeout, and on cancelling, all that the command started gets SIGTERM, and SIGKILL a
        second later; cancelling does not wait for that. What a command that ended by itself left running goes on.
        Processes that outlive it and hold its output open delay the Exit by a second at most. ``Exit.spilled`` is
        relative to the workspace."""
        if not command:
            raise ToolError("there is no command to run")
        request = {
            "op": "run",
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": env or {},
            "alone": alone,
            "apart": on_errors is not None,
            "stdin": bool(stdin),
            "timeout": timeout,
            "spill_after": spill_after,
            "called": called,
        }
        connection, call = self._begin(request, stdin or None, timeout, apart=on_errors is not None)
        keeping = None
        if clock is not None and timeout is not None:
            loop = asyncio.get_running_loop()
            keeping = loop.create_task(self._keep_time(connection, call, timeout, clock), name="keep time")
        try:
            return (await self._finish(connection, call, Ended.model_validate_json, on_output, on_errors, "run")).word()
        finally:
            if keeping is not None:
                keeping.cancel()

    async def _keep_time(self, connection: Connection, call: Call, left: float, clock: Clock) -> None:
        """Hold the timeout of a command, of which so many seconds are left, while its clock stands still."""
        loop = asyncio.get_running_loop()
        while True:
            goes_since = loop.time()
            await clock.until(stopped=True)
            left -= loop.time() - goes_since
            await self._set_due(connection, call, None)
            await clock.until(stopped=False)
            await self._set_due(connection, call, max(left, SHORTEST_REST))

    async def _set_due(self, connection: Connection, call: Call, seconds: float | None) -> None:
        """A command has so many seconds from now on; None for as many as it takes."""
        call.due(seconds)
        with contextlib.suppress(SandboxError, ToolError):  # it is over, or its hand is of an earlier release
            if connection is self._connection:
                await self._ask(Done.model_validate_json, within=FILE_TIME, op="due", call=call.number, seconds=seconds)

    def session(
        self,
        command: str | Sequence[str],
        *,
        terminal: tuple[int, int] | None = None,
        cwd: str = "/workspace",
        env: dict[str, str] | None = None,
        alone: bool = False,
        apart: bool = False,
        called: str = "",
    ) -> Session:
        """See `Hand`. Whoever goes hangs up a terminal: SIGHUP; else it is as in `run`."""
        request = {
            "op": "run",
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": env or {},
            "alone": alone,
            "apart": apart,
            "stdin": True,
            "timeout": None,
            "terminal": terminal,
            "called": called,
        }
        connection, call = self._begin(request, b"", None, more=True, apart=apart)

        async def finish(take: Take, take_errors: Take) -> Exit:
            return (await self._finish(connection, call, Ended.model_validate_json, take, take_errors, "run")).word()

        async def steer(**request: Any) -> None:
            if connection is self._connection:
                await self._ask(Done.model_validate_json, within=FILE_TIME, **request)

        return Session(call, finish, steer)

    async def shell(
        self,
        command: str | None = None,
        *,
        typed: str | None = None,
        interrupt: bool = False,
        end: bool = False,
        timeout: float,
        on_output: Callable[[bytes], Awaitable[None] | None] = lambda _: None,
        spill_after: int | None = None,
    ) -> ShellLook:
        """See `Hand`. On cancelling, what runs in the shell gets SIGINT; where it goes on for two seconds the
        shell is ended."""
        looked = await self._ask(
            Looked.model_validate_json,
            take=on_output,
            within=timeout,
            op="shell",
            command=command,
            cwd="/workspace",
            input=typed,
            interrupt=interrupt,
            end=end,
            timeout=timeout,
            spill_after=spill_after,
        )
        return looked.word()

    async def read(self, path: str, offset: int = 0, limit: int = 1 << 20, *, exact: bool = False) -> FileSlice:
        """See `Hand`. Regular files only: a FIFO or a device is a ToolError."""
        if offset + limit > LARGEST_FILE:
            raise ToolError(f"no file has {offset + limit} bytes")
        content = bytearray()

        def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > limit:
                raise SandboxError("the room's hand sent more of a file than was asked for")

        size = await self._ask(
            Size.model_validate_json,
            take=take,
            within=FILE_TIME,
            op="read",
            path=path,
            offset=offset,
            limit=limit,
            exact=exact,
        )
        if content and offset + len(content) > size.size:
            raise SandboxError("the room's hand sent more of a file than it says there is")
        return FileSlice(bytes(content), size.size)

    async def write(self, path: str, content: bytes | bytearray, *, exact: bool = False) -> None:
        """See `Hand`. Symbolic links are followed, inside the container."""
        await self._ask(Done.model_validate_json, content=content, within=FILE_TIME, op="write", path=path, exact=exact)

    async def write_pieces(self, path: str, pieces: AsyncIterator[bytes], *, exact: bool = False) -> None:
        """See `Hand`."""
        connection, call = self._begin({"op": "write", "path": path, "exact": exact}, b"", None, more=True)
        finish = self._finish(connection, call, Done.model_validate_json, lambda _: None, None, "write")
        try:
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(finish)
                async for piece in pieces:
                    if ended.done():
                        break
                    await call.write(piece)
                call.end()
                call.due(FILE_TIME)
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None

    async def list(
        self, path: str, pattern: str | None = None, limit: int = 1000, *, exact: bool = False
    ) -> tuple[list[DirEntry], int]:
        """See `Hand`. Paths are relative to `path`; a pattern without a slash is about names at any depth."""
        text = bytearray()

        def take(piece: bytes) -> None:
            text.extend(piece)
            if len(text) > LIST_BYTES:
                raise ToolError(f"{path}: this list is too long: take a folder further down, or a pattern")

        def whole(result: bytearray) -> tuple[list[DirEntry], int]:
            return entries(bytes(text), limit), Total.model_validate_json(result).total

        return await self._ask(
            whole, take=take, within=FILE_TIME, op="list", path=path, pattern=pattern, limit=limit, exact=exact
        )

    async def locate(self, program: str, paths: Sequence[str] = (), *, cwd: str = "/workspace") -> Located:
        found = await self._ask(
            Found.model_validate_json, within=FILE_TIME, op="locate", program=program, paths=list(paths), cwd=cwd
        )
        return found.word()

    async def start_job(self, command: str, *, cwd: str = "/workspace") -> Job:
        return (
            await self._ask(JobState.model_validate_json, within=FILE_TIME, op="start_job", command=command, cwd=cwd)
        ).word()

    async def job(self, job_id: str) -> Job:
        return (await self._ask(JobState.model_validate_json, within=FILE_TIME, op="job", id=job_id)).word()

    async def jobs(self) -> Sequence[Job]:
        return [state.word() for state in (await self._jobs()).jobs]

    async def works(self) -> bool:
        """Does something run in the background, or in the room's shell?"""
        states = await self._jobs()
        return states.shell or any(state.exit is None for state in states.jobs)

    async def _jobs(self) -> JobStates:
        return await self._ask(JobStates.model_validate_json, within=FILE_TIME, op="jobs")

    async def stop_job(self, job_id: str) -> Job:
        return (await self._ask(JobState.model_validate_json, within=FILE_TIME, op="stop_job", id=job_id)).word()

    async def _ask(
        self,
        understand: Callable[[bytearray], A],
        *,
        take: Take = lambda _: None,
        take_errors: Take | None = None,
        content: bytes | bytearray | None = None,
        within: float | None,
        **request: Any,
    ) -> A:
        """Raises HandLost, SandboxError for this call alone when the answer is wrong or too late, and ToolError."""
        connection, call = self._begin(request, content, within, apart=take_errors is not None)
        return await self._finish(connection, call, understand, take, take_errors, request["op"])

    def _begin(
        self, request: dict[str, Any], content: bytes | bytearray | None, within: float | None, **options: bool
    ) -> tuple[Connection, Call]:
        """Raises HandLost, ToolError."""
        if (connection := self._connection) is None:
            raise HandLost(self._why)
        try:
            text = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise ToolError("this is not valid Unicode text") from None
        if len(text) > MAX_FRAME:
            raise ToolError("arguments are too long (128 KiB at most): put them into a file")
        self.last_used = asyncio.get_running_loop().time()
        return connection, connection.call(text, content, within, **options)

    async def _finish(
        self,
        connection: Connection,
        call: Call,
        understand: Callable[[bytearray], A],
        take: Take,
        take_errors: Take | None,
        op: str,
    ) -> A:
        """Raises what `_ask` raises."""
        try:
            result = await call.finish(take, take_errors)
            if (refused := CallRefused.model_validate_json(result)).error is None:
                answer = understand(result)
        except HandLost:
            self._lost(connection)
            raise
        except SandboxError:
            self._answered_badly(connection)
            raise
        except ValueError:
            self._answered_badly(connection)
            raise SandboxError(f"the room's hand gave an answer that is none to {op}") from None
        finally:
            self.last_used = asyncio.get_running_loop().time()
        self.losses = self._bad_answers = 0
        self._proven = connection
        if refused.error is not None:
            raise ToolError(refused.error)
        return answer

    def _lost(self, connection: Connection) -> None:
        if connection is not self._missed:
            self._missed, self.losses = connection, self.losses + 1

    def _answered_badly(self, connection: Connection) -> None:
        """One such answer is this call's matter alone; where they come again and again, the hand is none."""
        self._bad_answers += 1
        if self._bad_answers >= BAD_ANSWERS:
            self._bad_answers = 0
            self._lost(connection)
            connection.fail("the room's hand broke the protocol: it gives wrong answers again and again")
