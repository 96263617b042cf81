"""Roommate without the time that its imports take: one process loads all that a daemon and the commands load, and then
becomes a copy of one, as often as it is asked. What is born here runs `roommate …` from its first line, in a process of
its own with environment, folder, files and session of its own; but three seconds of CPU are spent once.

`python -m tests.nursery` is the process: requests come on its standard input, one JSON object a line, and what becomes
of the daemons goes to its standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from roommate.host.die_with_parent import tied

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
    """`Nursery.open` starts the process, `close` ends it, and with it all that still run."""

    _shared: Self | None = None

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: list[asyncio.Future[Child]] = []
        self._children: dict[int, Child] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls) -> Self:
        return cls(
            await asyncio.create_subprocess_exec(
                *tied([sys.executable, "-m", "tests.nursery"], "KILL"),
                cwd=Path(__file__).parents[1],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        )

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
    ) -> Child:
        """A new process: `command` is what its command line would be; `out` gets what it prints, or `errors` some."""
        umask = os.umask(0)
        os.umask(umask)
        files = [str(stdin), str(out), str(errors or out)]
        asked = [*command], str(folder), dict(environment), files, umask
        self._asked.append(asyncio.get_running_loop().create_future())
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return await self._asked[-1]

    async def close(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, pid, code = json.loads(line)
            if word == "born":
                self._children[pid] = Child(pid)
                self._asked.pop(0).set_result(self._children[pid])
            else:
                self._children.pop(pid).end(code)
        for asked in self._asked:
            asked.set_exception(AssertionError("the nursery has ended"))


def main() -> None:
    """The process."""
    _load()
    wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    said = b""
    while True:
        ready, _, _ = select.select([0, wakes], [], [])
        if 0 in ready:
            more = os.read(0, 1 << 20)
            if not more:
                return
            *requests, said = (said + more).split(b"\n")
            for request in requests:
                ours = os.getpid()
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(wakes)
                    os.close(wake)
                    _become(ours, *json.loads(request))
                    return
                _tell("born", pid, 0)
        if wakes in ready:
            os.read(wakes, 1 << 10)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    _tell("ended", ended[0], os.waitstatus_to_exitcode(ended[1]))


def _load() -> None:
    for module in _LOADED:
        importlib.import_module(f"roommate.{module}")
    gc.freeze()  # what is never looked at again stays shared


def _become(
    parent: int, command: list[str], folder: str, environment: dict[str, str], files: list[str], umask: int
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

    from roommate.cli import main as roommate

    roommate()


def _tell(*what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
