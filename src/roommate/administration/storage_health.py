"""Whether the state can go on being kept: the database is in its place, whole, and its disk has room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from roommate.errors import StateError
from roommate.host import deadlines
from roommate.maintenance import remote_checks
from roommate.store import MEND, Database, damage, rescue

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
RETRY_SECONDS = 5.0
"""Between two tries to write while the disk is full."""
EMPTIED = "emptied"
NIGHT = 4
"""The hour, of this host's time, at which the database is read whole."""


class Health:
    """`run` looks, and ends the daemon where it must; `trouble` says why the daemon is not well, if it is not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._folder = database.file.parent
        self._is = _identity(database.file)
        self._of_disk = self._folder.stat().st_dev
        self._damage = ""
        self._low = False

    @property
    def trouble(self) -> str:
        """For people; empty when all is well."""
        return self._database.trouble or self._damage

    async def run(self) -> None:
        """Until cancelled. Raises StateError (in a group) when the database cannot be used any more."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._read_every_night())

    async def _look(self) -> None:
        while True:
            if gone := await asyncio.to_thread(self._gone):
                await self._save(gone)
            await self._space()
            if self._database.trouble:
                await self._try_to_write()
            with contextlib.suppress(TimeoutError):
                async with deadlines.within(RETRY_SECONDS if self._database.trouble else LOOK_SECONDS):
                    await self._database.broken.wait()
            if self._database.why:
                raise self._database.why

    def _gone(self) -> str:
        """What became of the file that is open; empty when it is in its place. Blocks."""
        # No more than stat(2): closing any descriptor of the file would take SQLite's locks off it.
        try:
            found = self._database.file.stat()
        except FileNotFoundError:
            return "deleted"
        except OSError as error:
            return f"made unreachable ({error.strerror})"
        if (found.st_dev, found.st_ino) != self._is:
            return "replaced by another file"
        return "" if found.st_size else EMPTIED

    async def _save(self, gone: str) -> None:
        """Nothing more is to be written to where no next start would find it: keep what is still open, and end."""
        file, disk = self._database.file, self._of_disk
        said = f"the database {file} was {gone} while it was in use: "
        await self._database.give_up(lambda c: said + (MEND if gone == EMPTIED else rescue(c, file, disk)))

    async def _space(self) -> None:
        """A warning in time, once until there is room again."""
        try:
            free = await asyncio.to_thread(remote_checks.free_part, self._folder)
        except OSError:
            return
        if free < remote_checks.LOW_DISK and not self._low:
            log.warning(
                "only %.1f %% of the disk of %s is free: nothing goes on when it is full", free * 100, self._folder
            )
        self._low = free < remote_checks.LOW_DISK * (1.1 if self._low else 1)

    async def _try_to_write(self) -> None:
        with contextlib.suppress(StateError):
            await self._database.run(lambda c: c.execute("UPDATE sync SET since = since"))

    async def _read_every_night(self) -> None:
        while True:
            await asyncio.sleep(_seconds_until(NIGHT, time.time()))
            self._damage = ""
            if found := await asyncio.to_thread(damage, self._folder):
                self._damage = f"the database {self._database.file} is damaged ({found})"
                log.error("%s: %s", self._damage, MEND)


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _seconds_until(hour: int, now: float) -> float:
    """Until it is that hour of this host's time, at least one second from now."""
    today = time.localtime(now)
    seconds = (hour - today.tm_hour) * 3600 - today.tm_min * 60 - today.tm_sec - now % 1
    return seconds if seconds >= 1 else seconds + 86_400
