"""The database file, the one thread that owns it, and group commit: what arrives together shares one fsync."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from roommate import folders
from roommate.errors import StateError
from roommate.store.migrations import migrate

T = TypeVar("T")

Transaction = sqlite3.Connection
Work = Callable[[Transaction], T]
"""Something to do in a transaction, which counts wholly or not at all. Several can be done in one."""

BATCH = 64
"""Most transactions in one group: bounds how long the first of them waits for the last."""


class Database:
    """A SQLite file in WAL mode with ``synchronous=FULL``: what a transaction returned from is on the disk.

    Work is a function of the connection; it runs in the database's own thread, alone, inside of a savepoint, so that
    it counts wholly or not at all. What it raises reaches the caller; foreign SQLite errors come as StateError.
    """

    def __init__(self, connection: sqlite3.Connection, lock: int) -> None:
        self._connection = connection
        self._lock = lock
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="database", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open (or make) ``roommate.db`` in the state folder, bring it up to date, and keep others out.

        Raises StateError: another daemon holds it, it is of a newer version, or the disk says no.
        """
        lock = _lock(folder)
        file = folder / "roommate.db"
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            migrate(connection)
            connection.execute("PRAGMA foreign_keys=ON")
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise StateError(f"the database {file} cannot be opened: {error}") from error
        except StateError:
            os.close(lock)
            raise
        return cls(connection, lock)

    async def run(self, work: Work[T]) -> T:
        """Do `work` in a transaction and return what it returns, once that is on the disk."""
        job = _Job(work, asyncio.get_running_loop())
        self._work.put(job)
        return await job.future  # type: ignore[no-any-return]

    async def close(self) -> None:
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()
        os.close(self._lock)

    def _serve(self) -> None:
        while (first := self._work.get()) is not None:
            jobs, ends = [first], False
            while len(jobs) < BATCH and not ends:
                try:
                    further = self._work.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    ends = True
                else:
                    jobs.append(further)
            self._commit(jobs)
            for job in jobs:
                job.deliver()
            if ends:
                return

    def _commit(self, jobs: list[_Job]) -> None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                execute("SAVEPOINT job")
                try:
                    job.result = job.work(self._connection)
                except Exception as error:  # whatever a job raises is its caller's, the others of the group go on
                    job.error = error
                    execute("ROLLBACK TO job")
                execute("RELEASE job")
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            for job in jobs:
                job.error = error


def _lock(folder: Path) -> int:
    """Make the state folder where there is none, and keep other daemons out until this descriptor is closed."""
    try:
        folders.private(folder)
        folder.chmod(0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"STATE_DIR {folder} is not usable: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StateError(f"another Roommate runs on STATE_DIR {folder}: stop it or choose another folder") from None
    return lock


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else has the state folder meanwhile. Raises StateError when a daemon does."""
    lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """A look at the database of a state folder, also while a daemon runs on it: one moment of it, and no change.

    Raises StateError, also for what goes wrong within the block: there is none, or it is of another version.
    """
    file = folder / "roommate.db"
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as c:
            c.execute("BEGIN")
            yield c
    except sqlite3.Error as error:
        raise StateError(f"the database {file} cannot be read: {error}") from error


class _Job:
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        if isinstance(self.error, sqlite3.Error):
            self.error = StateError(f"the state database did not take this: {self.error}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)
