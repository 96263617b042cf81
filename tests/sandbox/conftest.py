"""Real containers for tests: `make` gives sandboxes with a state of their own, `lodge` shared ones to look into."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from roommate.domain import Exit, Hand, RoomId
from roommate.sandbox import inotify_limit_per_room
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from tests.patience import OF_DAEMONS, PATIENCE
from tests.sandbox_image import agents_image, image, podman, remove_rooms

__all__ = ["agents_image", "image"]

SMALL = Limits(memory_mb=256, cpus=1.0, pids=64, workspace_mb=64)
ROOM = RoomId("!one:example.org")
SCARCE = {check.what for check in inotify_limit_per_room.examine(shared=False) if not check.ok}
"""What this host's kernel has little of, as doctor says: most give a user 128 inotify instances."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and all that it printed."""

    exit: Exit
    text: str


async def sh(hand: Hand, command: str, timeout: float = PATIENCE) -> Said:
    printed = bytearray()
    ended = await hand.run(command, timeout=timeout, on_output=printed.extend)
    return Said(ended, printed.decode(errors="replace"))


def pid_of(state: Path) -> int:
    """The first process of the one container of this state, as the host sees it."""
    (name,) = podman_names(state)
    return int(podman("inspect", "--format", "{{.State.Pid}}", name))


def podman_names(state: Path) -> list[str]:
    return podman("ps", "--format", "{{.Names}}", "--filter", f"label=io.roommate.state={state}").split()


def services(run: Path) -> list[int]:
    """The Podman services that listen in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if b"service" in words and any(word.startswith(f"unix://{run}/".encode()) for word in words):
            found.append(int(process.name))
    return found


class Make(Protocol):
    def __call__(self, place: Path = ..., **changes: Any) -> RoomSandboxes: ...


@pytest.fixture(scope="session")
def host_memory(learned: Path) -> Path:
    """What is known of this machine, so that not every test looks again."""
    if os.geteuid() != 0:
        pytest.fail("the sandbox tests need root: they mount disks and make an ordinary user (sudo scripts/test)")
    return learned


def place_of(host_memory: Path) -> Path:
    """A short new folder with ``state/`` and ``run/``, where the host is known already."""
    place = Path(tempfile.mkdtemp(prefix="rs-"))
    (place / "state").mkdir(mode=0o700)
    shutil.copy(host_memory, place / "state")
    return place


@pytest.fixture
def place(host_memory: Path) -> Iterator[Path]:
    """Gone after the test, with the containers that belong to it."""
    place = place_of(host_memory)
    yield place
    remove_rooms(place / "state")
    shutil.rmtree(place)


def at(place: Path, image: str, **changes: Any) -> RoomSandboxes:
    settings: dict[str, Any] = {
        "image": image,
        "daemon": "@bot:example.org",
        "limits": SMALL,
        "idle_seconds": 600.0,
        "patience": OF_DAEMONS,
    }
    return RoomSandboxes(state=place / "state", run=place / "run", **(settings | changes))


@pytest.fixture
async def make(place: Path, image: str) -> AsyncIterator[Make]:
    """``make()``: sandboxes of this test; again after `close` is a restart of the daemon."""
    made: list[RoomSandboxes] = []

    def one(place: Path = place, **changes: Any) -> RoomSandboxes:
        made.append(at(place, **({"image": image} | changes)))
        return made[-1]

    yield one
    for sandboxes in made:
        await sandboxes.close()
    assert services(place / "run") == []


@pytest.fixture(scope="session")
async def lodge(host_memory: Path, image: str) -> AsyncIterator[RoomSandboxes]:
    """Sandboxes that tests share: look, and leave it as it was."""
    place = place_of(host_memory)
    sandboxes = at(place, image)
    try:
        yield sandboxes
    finally:
        await sandboxes.close()
        remove_rooms(place / "state")
        shutil.rmtree(place)
