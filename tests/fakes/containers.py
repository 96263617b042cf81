"""Rooms without Podman: a container is the hand's own program as a process of this machine, on the room's own folders.

Everything above Podman's API is the daemon's own: how containers come up, are found again, stopped and removed, and
both ends of the hand. What a process cannot give is not there: no isolation, no limits, no way out, and in commands the
workspace has the path that it has on this machine. tests/contracts says what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roommate.domain import JsonObject, RoomId
from roommate.sandbox.container_spec import HOME, RUN, WORKSPACE, Host
from roommate.sandbox.hand import HandHost
from roommate.sandbox.host_capabilities import Probe
from roommate.sandbox.podman_client import Container, Engine, Image, Load
from roommate.sandbox.room_containers import RoomSandboxes
from tests.live_hand import MARK, marked

IMAGE = Image("sha256:none", 0, {})
HOST = Host(
    setup="processes", podman="", runtime="none", rootless=True, cgroup="v2", first_id=None, ranges=0,
    userns=False, memory=False, cpu=False, pids=False, seccomp="", quota="no room has a disk of its own", driver="",
)  # fmt: skip


@dataclass(slots=True)
class _Made:
    spec: JsonObject
    process: asyncio.subprocess.Process | None = None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def state(self) -> str:
        if self.process is None:
            return "created"
        return "running" if self.process.returncode is None else "exited"

    def folder(self, target: str) -> str:
        """Where on this machine is what the container would see there."""
        return next(str(one["source"]) for one in self.spec["mounts"] if one["destination"] == target)

    async def end(self) -> None:
        """All that was started there, whatever it did to get away."""
        if self.process is not None:
            while there := marked(f"{MARK}={self.mark}\0".encode()):
                for pid in there:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.002)  # a process is not over at once
            await self.process.wait()


class Processes(Engine):
    """Stands for Podman's API. It outlives the daemons that use it, as Podman's containers do: `end` ends all."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}

    async def close(self) -> None:
        pass

    async def end(self) -> None:
        for made in self._made.values():
            await made.end()

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._made)

    async def image(self, name: str) -> Image:
        return IMAGE

    async def create(self, spec: JsonObject) -> list[str]:
        self._made[spec["name"]] = _Made(spec)
        return []

    async def start(self, name: str) -> None:
        made = self._made[name]
        if made.state == "running":
            return
        workspace, home = made.folder(WORKSPACE), made.folder(HOME)
        command = made.spec["entrypoint"]
        if f"{RUN}/hand.py" in command:
            run = made.folder(RUN)
            command = (sys.executable, "-I", "-S", f"{run}/hand.py", f"{run}/hand.sock", workspace, home)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **made.spec["env"], "HOME": home}
        made.process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", *command,
            cwd=workspace,
            env={**environment, MARK: made.mark},
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def stop(self, name: str, grace: int = 2) -> None:
        if name in self._made:
            await self._made[name].end()

    async def wait(self, name: str) -> int:
        process = self._made[name].process
        assert process is not None
        return await process.wait()

    async def remove(self, name: str) -> None:
        if made := self._made.pop(name, None):
            await made.end()

    async def find(self, name: str) -> Container | None:
        made = self._made.get(name)
        return None if made is None else Container(name, made.state, made.spec["labels"])

    async def process(self, name: str) -> int:
        process = self._made[name].process
        return process.pid if process is not None and process.returncode is None else 0

    async def list(self, label: str, value: str) -> list[Container]:
        found = self._made.items()
        return [Container(n, m.state, m.spec["labels"]) for n, m in found if m.spec["labels"].get(label) == value]

    async def load(self, name: str) -> Load | None:
        return None


class NoProbe(Probe):
    """Knows what there is to know of a host that gives processes."""

    def __init__(self, engine: Processes) -> None:
        self._processes = engine

    async def host(self, image: str) -> Host:
        return HOST

    def engine(self, host: Host) -> Engine:
        return self._processes

    async def fit(self, engine: Engine, host: Host, image: str) -> Image:
        return IMAGE

    async def prove(self, engine: Engine, host: Host, image: str) -> None:
        pass

    async def clear(self, engine: Engine) -> None:
        pass

    def forget(self) -> None:
        pass


class ProcessSandboxes(RoomSandboxes):
    """The daemon's own, over processes. They share this machine's loopback: no port of a room is opened there."""

    def __init__(self, processes: Processes, *, state: Path, run: Path, **more: Any) -> None:
        super().__init__(state=state, run=run, probe=NoProbe(processes), **more)

    def attach(self, attach: Callable[[RoomId, HandHost], None]) -> None:
        pass
