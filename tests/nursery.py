"""Roommate without the time that its imports take: one process loads all that a daemon and the commands load, and then
becomes a copy of one, as often as it is asked. What is born here runs `roommate …` from its first line, in a process of
its own with environment, folder, files and session of its own; but three seconds of CPU are spent once.

`python -m tests.nursery LISTENING` is the process, one for all workers of a run. It loads when the first of them dials
in, takes requests, one JSON value a line, and tells what becomes of those that were born. They end with the line.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from roommate.host.die_with_parent import tied

ROOMMATE = "roommate.cli"
_PR_SET_PDEATHSIG = 1
_LOADED = ("daemon_process", "cli.app", "cli.matrix_auth", "cli.backup", "cli.chat_and_send", "cli.doctor", "cli.init")


class Child:
    """A process that was born in a nursery; as `asyncio.subprocess.Process`, as far as tests use it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """A line to the process. What was born ends with it."""

    _shared: Self | None = None
    place: str | None = None
    """The process's socket, in who starts it and in the workers of the run."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._asked: list[asyncio.Future[Child]] = []
        self._children: dict[int, Child] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls) -> Self:
        return cls(*await asyncio.open_unix_connection(cls.started()))

    @classmethod
    def started(cls) -> str:
        """The process's socket: it is started unless there is one."""
        if cls.place is None:
            folder = tempfile.mkdtemp(prefix="rn-")
            cls.place = f"{folder}/socket"
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(cls.place)
                listening.listen(100)
                process = subprocess.Popen(
                    tied([sys.executable, "-m", "tests.nursery", str(listening.fileno())], "KILL"),
                    cwd=Path(__file__).parents[1],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[listening.fileno()],
                    start_new_session=True,
                )
            atexit.register(_end, process, folder)
        return cls.place

    @classmethod
    async def shared(cls) -> Self:
        """The one of this test process."""
        if cls._shared is None:
            cls._shared = await cls.open()
        return cls._shared

    @classmethod
    async def close_shared(cls) -> None:
        if cls._shared is not None:
            await cls._shared.close()
            cls._shared = None

    async def bear(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        out: Path,
        errors: Path | None = None,
        stdin: Path = Path(os.devnull),
        main: str = ROOMMATE,
    ) -> Child:
        """A new process: `command` is what its command line would be; `out` gets what it prints, or `errors` some.
        It runs the function `main` of the module of that name."""
        umask = os.umask(0)
        os.umask(umask)
        files = [str(stdin), str(out), str(errors or out)]
        asked = [*command], str(folder), dict(environment), files, umask, main
        self._asked.append(asyncio.get_running_loop().create_future())
        self._writer.write(json.dumps(asked).encode() + b"\n")
        return await self._asked[-1]

    async def close(self) -> None:
        self._writer.close()
        await self._reading

    async def _read(self) -> None:
        async for line in self._reader:
            word, pid, code = json.loads(line)
            if word == "born":
                self._children[pid] = Child(pid)
                self._asked.pop(0).set_result(self._children[pid])
            else:
                self._children.pop(pid).end(code)
        for asked in self._asked:
            asked.set_exception(AssertionError("the nursery has ended"))


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder)


class _Line:
    """One worker's."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.children: set[int] = set()
        self._said = b""

    def asked(self) -> list[Any] | None:
        """The requests that have come; None when there will be no more."""
        with contextlib.suppress(ConnectionError):
            if more := self.connection.recv(1 << 20):
                *requests, self._said = (self._said + more).split(b"\n")
                return [json.loads(request) for request in requests]
        return None

    def tell(self, *what: Any) -> None:
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(json.dumps(what).encode() + b"\n")


def main() -> None:
    """The process."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    listening.set_inheritable(False)
    waiting = selectors.DefaultSelector()
    waiting.register(listening, selectors.EVENT_READ)
    waiting.select()
    _load()
    wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting.register(wakes, selectors.EVENT_READ)
    lines: set[_Line] = set()
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listening:
                lines.add(line := _Line(listening.accept()[0]))
                waiting.register(line.connection, selectors.EVENT_READ, line)
            elif key.fileobj == wakes:
                os.read(wakes, 1 << 10)
                with contextlib.suppress(ChildProcessError):
                    while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                        for line in lines:
                            if ended[0] in line.children:
                                line.children.remove(ended[0])
                                line.tell("ended", ended[0], os.waitstatus_to_exitcode(ended[1]))
            elif (requests := key.data.asked()) is None:
                for pid in key.data.children:
                    os.kill(pid, signal.SIGKILL)
                waiting.unregister(key.data.connection)
                key.data.connection.close()
                lines.remove(key.data)
            else:
                for request in requests:
                    ours = os.getpid()
                    pid = os.fork()
                    if pid == 0:
                        signal.set_wakeup_fd(-1)
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        os.close(wakes)
                        os.close(wake)
                        waiting.close()
                        for connection in (listening, *(line.connection for line in lines)):
                            connection.close()
                        _become(ours, *request)
                        return
                    key.data.children.add(pid)
                    key.data.tell("born", pid, 0)


def _load() -> None:
    for module in _LOADED:
        importlib.import_module(f"roommate.{module}")
    importlib.import_module("roommate.net.outbound_http").trust()
    gc.freeze()  # what is never looked at again stays shared


def _become(
    parent: int, command: list[str], folder: str, environment: dict[str, str], files: list[str], umask: int, main: str
) -> None:
    """What was asked for, from here on."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, path in enumerate(files):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv, sys.modules["__main__"].__package__ = command, ""  # a script, and no `python -m`
    random.seed()
    importlib.import_module(main).main()


if __name__ == "__main__":
    main()
