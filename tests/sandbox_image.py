"""The rooms' image, made once and then found again; tests everywhere ask for it as the fixture `image`."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from pathlib import Path

import pytest

from roommate.sandbox.image import build

NAME = "localhost/roommate:test"


@pytest.fixture(scope="session")
async def image() -> str:
    """The name of the rooms' image. The first run on a machine makes it (a minute), others find it."""
    with (Path(tempfile.gettempdir()) / "roommate-test-image.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # one suite at a time makes it
        await build(NAME, say=print)
    return NAME
