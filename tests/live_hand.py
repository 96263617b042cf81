"""The hand's inside program as a plain process of this machine, with a temporary folder as the room's workspace."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from roommate.domain import Job
from roommate.sandbox.hand import HandHost, program
from tests.patience import PATIENCE

MARK = "ROOMMATE_TEST_HAND"
"""Set in the environment of the hand and so in that of all it starts: what a test leaves behind can be found."""


class LiveHand:
    """`host` is the daemon's end, `workspace` and `home` the folders; `start` and `kill` are the container's life."""

    def __init__(self, **host: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rh-"))
        self.socket = self.folder / "hand.sock"
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir()
        self.home = self.folder / "home"
        self.home.mkdir()
        (self.folder / "hand.py").write_bytes(program())
        self.host = HandHost(self.socket, **({"patience": PATIENCE, "silence": PATIENCE} | host))
        self._mark = secrets.token_hex(8)
        self.pid = 0

    async def start(self, largest_file: int | None = None) -> None:
        """`largest_file` bytes is the most that a file may have: beyond it writing fails, as on a full disk."""
        await self.spawn(largest_file)
        await self.host.connected(PATIENCE)

    async def spawn(self, largest_file: int | None = None) -> None:
        """As `start` does, and dials whoever listens at `socket`."""

        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(self.folder / "hand.py"),
            str(self.socket),
            str(self.workspace),
            str(self.home),
            env={**os.environ, "HOME": str(self.home), MARK: self._mark},
            preexec_fn=limit,
        )
        self.pid = process.pid
        self._process = process

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def restart_host(self) -> None:
        """What a restart of the daemon does to the hand."""
        await self.host.close()
        self.host = HandHost(self.socket, patience=PATIENCE, silence=PATIENCE)
        await self.host.open()
        await self.host.connected(PATIENCE)

    def log(self, job: Job) -> Path:
        """The file of a job's output."""
        return self.home / job.log.removeprefix("/home/room/")

    def left(self) -> list[int]:
        """The processes that the hand started and that are alive."""
        return [pid for pid in marked(f"{MARK}={self._mark}\0".encode()) if pid != self.pid]

    async def discard(self) -> None:
        await self.host.close()
        if self.pid:
            await self.kill()
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)


@asynccontextmanager
async def live_hand(largest_file: int | None = None, **host: float) -> AsyncIterator[LiveHand]:
    """`host` is for HandHost: patience, silence."""
    hand = LiveHand(**host)
    try:
        await hand.host.open()
        await hand.start(largest_file)
        yield hand
    finally:
        await hand.discard()


def marked(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes() and b") Z " not in (entry / "stat").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
