"""A daemon in this process that dies as SIGKILL has it: at the Nth commit that changes something, just before it or
just after. From then on nothing of it is written and nobody hears of it; what is on the disk and at the homeserver
stays as it was at that moment.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp

from roommate.store import Database
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver, MemoryResponse, MemorySession
from tests.fakes.model import MemoryModel
from tests.patience import PATIENCE

_lives: dict[Path, Life] = {}


class Life:
    """Of one daemon, from start to start."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = 0
        self._before = False
        self.is_over = False
        self.over = asyncio.Event()
        self.disk_is_full = False

    def ends(self, at: int, *, before: bool) -> None:
        """From now on: at that commit (1 is the next one)."""
        self._before, self._left = before, at

    def cut(self) -> None:
        """Now."""
        self.is_over = True
        self.over.set()

    def lives_on(self) -> bool:
        """It was not reached, and is not any more."""
        self._left = 0
        return not self.is_over

    def point(self, *, before: bool) -> None:
        """A commit is about to be, or was. Raises sqlite3.Error where this is the end, or the disk full."""
        if self.disk_is_full and before:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        if self._left and before is self._before:
            self._left -= 1
            if not self._left:
                self.is_over = True
                self._loop.call_soon_threadsafe(self.over.set)
        self.check()

    def check(self) -> None:
        if self.is_over:
            raise sqlite3.OperationalError("it was killed")


class _Watched:
    """A connection whose commits are counted."""

    def __init__(self, connection: sqlite3.Connection, life: Life) -> None:
        self._connection, self._life = connection, life
        self._changes = connection.total_changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement != "COMMIT" or self._connection.total_changes == self._changes:
            self._life.check()
            return self._connection.execute(statement, *values)
        try:
            self._life.point(before=True)
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise
        self._changes = self._connection.total_changes
        done = self._connection.execute(statement)
        self._life.point(before=False)
        return done


class MortalDatabase(Database):
    """To be put in the place of the daemon's."""

    def __init__(self, connection: sqlite3.Connection, reader: sqlite3.Connection, lock: int, file: Path) -> None:
        if life := _lives.get(file.parent):
            connection = _Watched(connection, life)  # type: ignore[assignment]
        super().__init__(connection, reader, lock, file)


class _Session(MemorySession):
    def __init__(self, homeserver: MemoryHomeserver, life: Life) -> None:
        super().__init__(homeserver)
        self._life = life

    async def _ask(self, method: str, url: str, data: Any, headers: dict[str, str]) -> MemoryResponse:
        if self._life.is_over:
            raise aiohttp.ClientConnectionError("it was killed")
        return await super()._ask(method, url, data, headers)


class MortalDaemon(MemoryDaemon):
    """`MortalDatabase` has to be the daemon's."""

    def __init__(self, homeserver: MemoryHomeserver, user_id: str, model: MemoryModel | None = None) -> None:
        super().__init__(homeserver, user_id, {}, model)
        self.life = Life()

    async def start(self) -> MortalDaemon:
        _lives[self.state] = self.life = Life()
        await super().start()
        return self

    def session(self, **_: Any) -> MemorySession:
        return _Session(self._homeserver, self.life)

    async def bury(self) -> None:
        """End what is left of it, once its life is over."""
        await self.life.over.wait()
        if self._task is not None:
            self._task.cancel()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()
            self._task = None
        if self._logs is not None:
            self._logs.close()
