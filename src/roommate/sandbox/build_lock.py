"""Which builds of images live in Podman's storage, whichever daemon or command they are of: each holds a lock there."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from roommate.errors import ImageError
from roommate.sandbox.run_host_program import output

_FILE = "roommate-builds.lock"
"""In Podman's run folder, which all that share a storage share, and which is empty after a start of the host."""


class Builds:
    """Of one storage, seen by a build that holds its lock: `fd` is to be held by what it starts, too, for that may
    outlive who started it. Its files are in `folder`: of a build that was killed the next one finds them there, and so
    does a start of the host."""

    def __init__(self, fd: int, folder: Path) -> None:
        self.fd, self.folder = fd, folder

    def alone(self) -> bool:
        """Is there no other one? From then on none begins before this one has ended."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.asynccontextmanager
async def builds(podman: str) -> AsyncIterator[Builds]:
    """Be one of the builds. Raises EngineError, ImageError."""
    folder = (await output(podman, "info", "--format", "{{.Store.RunRoot}}")).strip()
    if not folder:
        raise ImageError(f"{podman} info does not say where Podman keeps its state")
    try:
        fd = os.open(Path(folder) / _FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ImageError(f"builds of images cannot be told from each other in {folder}: {error.strerror}") from error
    try:
        # Who is alone only tidies up: that does not take long.
        await asyncio.to_thread(fcntl.flock, fd, fcntl.LOCK_SH)
        yield Builds(fd, Path(folder))
    finally:
        os.close(fd)
