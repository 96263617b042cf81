"""The rooms' image, made once and then found again, as the fixture `image`; and the end of what daemons leave."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import tempfile
from pathlib import Path

import pytest

from roommate.sandbox.image import build
from roommate.sandbox.posture import STATE

NAME = "localhost/roommate:test"


@pytest.fixture(scope="session")
async def image() -> str:
    """The name of the rooms' image. The first run on a machine makes it (a minute), others find it."""
    with (Path(tempfile.gettempdir()) / "roommate-test-image.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # one suite at a time makes it
        await build(NAME, say=print)
    return NAME


def podman(*arguments: str) -> str:
    """What a command of Podman printed; it must succeed."""
    done = subprocess.run(("podman", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def containers(state: Path) -> list[str]:
    """The names of the containers of the daemon with this state folder, running or not."""
    return podman("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={STATE}={state}").split()


def remove_containers(state: Path) -> None:
    if names := containers(state):
        # Its exit code says nothing: at times it reports a busy shm of a container that it did remove.
        subprocess.run(("podman", "rm", "--force", "--time", "0", *names), capture_output=True, check=False)
        assert containers(state) == []


def remove_rooms(state: Path) -> None:
    """Remove these containers and unmount the rooms' disks: the folder can be deleted then."""
    remove_containers(state)
    for files in state.glob("rooms/*/files"):
        if files.is_mount():
            subprocess.run(("umount", "--lazy", files), check=True)
