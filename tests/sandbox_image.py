"""The rooms' images, made once and then found again, as the fixtures `image` and `agents_image`; and the end of what
daemons leave."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roommate.sandbox.container import ROOM
from roommate.sandbox.container_spec import STATE
from roommate.sandbox.image import build
from tests.patience import PATIENCE

NAME = "localhost/roommate:test-base"
AGENTS_NAME = "localhost/roommate:test-agents"


@pytest.fixture(scope="session")
async def image() -> str:
    """The name of the rooms' small image. The first run on a machine makes it (a minute), others find it."""
    return await _made(NAME, "base")


@pytest.fixture(scope="session")
async def agents_image(image: str) -> str:
    """The name of the image with browser and coding agents: the first run makes it on top of `image`, in minutes."""
    return await _made(AGENTS_NAME, "agents")


async def _made(name: str, stage: str) -> str:
    with (Path(tempfile.gettempdir()) / f"{name.replace('/', '-')}.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # one suite at a time makes it
        await build(name, stage=stage, step=printed)
    return name


@contextlib.contextmanager
def printed(title: str) -> Iterator[Callable[[str], None]]:
    """Steps of a build as lines that pytest captures."""
    yield lambda text: print(f"{title}: {text}")


def podman(*arguments: str) -> str:
    """What a command of Podman printed; it must succeed."""
    done = subprocess.run(("podman", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def containers(state: Path, room: str = "") -> list[str]:
    """The names of the containers of the daemon with this state folder, running or not; of this room, or of all."""
    of_room = ("--filter", f"label={ROOM}={room}") if room else ()
    return podman("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={STATE}={state}", *of_room).split()


def remove(*names: str, seconds: int = 0) -> None:
    """Remove these containers and their volumes, when they have had this time to end. Podman gives up five seconds
    after a kill: where the kernel takes longer it is asked again."""
    command = ("podman", "rm", "--force", "--ignore", "--volumes", f"--time={seconds}", *names)
    deadline = time.monotonic() + PATIENCE
    while (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode != 0:
        assert time.monotonic() < deadline, done.stderr


def remove_containers(state: Path) -> None:
    if names := containers(state):
        remove(*names)


def remove_rooms(state: Path) -> None:
    """Remove these containers and unmount the rooms' disks: the folder can be deleted then."""
    remove_containers(state)
    for files in state.glob("rooms/*/files"):
        if files.is_mount():
            subprocess.run(("umount", "--lazy", files), check=True)
