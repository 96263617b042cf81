"""The database file, the thread that waits for its fsync, and group commit: what arrives together shares one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from roommate.errors import InUse, StateError
from roommate.host import folder_modes
from roommate.store import power_cut
from roommate.store.migrations import migrate

T = TypeVar("T")

Transaction = sqlite3.Connection
Work = Callable[[Transaction], T]
"""Something to do in a transaction, which counts wholly or not at all. Several can be done in one."""

DATABASE = "roommate.db"
ROOMS = "rooms"
"""In the state folder, beside the database: a folder of files for each room."""

BATCH = 64
"""Most transactions in one group: bounds how long the first of them waits for the last."""

FORCED_WITHIN = 0.25
"""Seconds until what was committed without being forced is on the disk, too."""

LOG_PAGES = 1000
"""With so many the log is brought back into the database, and begins anew."""

BUSY_SECONDS = 5.0
"""Seconds that the thread waits where another process writes, such as SQLite's own program."""

MEND = "put a backup back: move STATE_DIR away, then `roommate restore FILE`"

REWRITTEN_AT_START = 64 << 20
"""Bytes: takes about a second."""

_INCREMENTAL = 2
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})

log = logging.getLogger(__name__)


class Database:
    """A SQLite file in WAL mode with ``synchronous=FULL``: what `run` returned from is on the disk.

    Work is a function of the connection; it runs alone, inside of a savepoint, so that it counts wholly or not at all:
    in the database's own thread, or where `run_unforced` says. What it raises reaches the caller; foreign SQLite errors
    come as StateError.

    A full disk passes: `trouble` says so until something was written again. Damage does not: `broken` is set, nothing
    is read or written any more, and the daemon has to end.
    """

    def __init__(self, connection: sqlite3.Connection, reader: sqlite3.Connection, lock: int, file: Path) -> None:
        """`reader` is what `look` reads with."""
        self.file = file
        self.trouble = ""
        """Why it takes nothing at present, for people; empty when it does."""
        self.broken = asyncio.Event()
        self.why: StateError | None = None
        """What is `broken`."""
        self._connection, self._reader = connection, reader
        self._forced = True
        """What is committed now is forced to the disk."""
        self._behind = False
        """The disk may not have yet what was committed at last."""
        self._catching_up: asyncio.Task[None] | None = None
        self._given = 0
        """How much the thread has to do: it alone uses the connection as long as that is anything."""
        self._checkpointed = _written(file)
        self._log_begins = True
        """The next change begins SQLite's log, which waits for an fsync in any case."""
        self._lock = lock
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="database", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open (or make) ``roommate.db`` in the state folder, bring it up to date, and keep others out.

        Raises StateError: another daemon holds it, it is of a newer version, it is damaged, it is not there although
        there are rooms, or the disk says no.
        """
        lock = _lock(folder)
        file = folder / DATABASE
        try:
            _refuse_to_begin_anew(folder)
            was_open = file.with_name(f"{DATABASE}-wal").exists()
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            if not file.stat().st_size:
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            migrate(connection)
            power_cut.note(connection, was_open=was_open)
            if was_open:
                power_cut.touch(connection)  # brings what its last process had not forced to the disk
            _let_it_shrink(connection, folder)
            connection.execute("PRAGMA foreign_keys=ON")
            reader = _reader(file)
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            mend = f"; {MEND}" if _code(error) in _DAMAGED else ""
            raise StateError(f"the database {file} cannot be opened: {error}{mend}") from error
        except StateError:
            os.close(lock)
            raise
        return cls(connection, reader, lock, file)

    async def run(self, work: Work[T]) -> T:
        """Do `work` in a transaction and return what it returns, once that is on the disk."""
        return await self._do(_Job(work, asyncio.get_running_loop()))  # type: ignore[no-any-return]

    async def run_unforced(self, work: Work[T], *, few: bool = True) -> T:
        """The same, for what comes again where it is lost, or need not: for FORCED_WITHIN a power cut may take it, and
        never what was committed before it. A process that is killed loses nothing.

        A `few` rows are written here and at once where the thread has nothing to do."""
        job = _Job(work, asyncio.get_running_loop(), forced=False)
        if few and not self._given and not self._log_begins:
            self._work_off([job], self._commit_at_once)
            if _code(job.error) != sqlite3.SQLITE_BUSY:
                self._catch_up(job.loop)
                if (error := job.failure()) is not None:
                    raise error
                return job.result  # type: ignore[no-any-return]
            job.error = None
        return await self._do(job)  # type: ignore[no-any-return]

    async def look(self, work: Work[T]) -> T:
        """Do `work`, which reads a few rows, here and at once: it sees what every `run` that has returned has done, and
        waits for nobody's fsync. What cannot be read so is left to `run`, which knows what that means."""
        if self.why is None:
            try:
                self._reader.execute("BEGIN")
                try:
                    return work(self._reader)
                finally:
                    self._reader.execute("ROLLBACK")
            except sqlite3.Error as error:
                if _code(error) in _DAMAGED:
                    self._break(self._damaged(error), asyncio.get_running_loop())
        return await self.run(work)

    async def rows(self, query: str, *values: object) -> list[Any]:
        """What one query finds, by a `look`."""
        return await self.look(lambda c: c.execute(query, values).fetchall())

    async def row(self, query: str, *values: object) -> Any:
        """The first of them; None where there is none."""
        return await self.look(lambda c: c.execute(query, values).fetchone())

    async def alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` outside of any transaction, for what SQLite does not do within one."""
        return await self._do(_Job(work, asyncio.get_running_loop(), alone=True))  # type: ignore[no-any-return]

    async def give_up(self, work: Callable[[sqlite3.Connection], str]) -> None:
        """Do `work` as the last thing ever; what it gives is why nothing behind it is done any more."""

        def last(c: sqlite3.Connection) -> None:
            self.why = StateError(work(c))

        with contextlib.suppress(StateError):
            await self.alone(last)
        self.broken.set()

    async def _do(self, job: _Job) -> Any:
        self._given += 1
        self._work.put(job)
        return await job.future

    def _settle(self, job: _Job) -> None:
        """The thread has done it."""
        self._given -= 1
        self._catch_up(job.loop)
        if job.future.done():
            return
        if (error := job.failure()) is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(job.result)

    def _catch_up(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._behind and (self._catching_up is None or self._catching_up.done()):
            self._catching_up = loop.create_task(self._force_log())

    async def _force_log(self) -> None:
        """Bring what was committed to the disk, with a change behind it, until nothing more was committed meanwhile."""
        while self._behind and self.why is None:
            await asyncio.sleep(FORCED_WITHIN)
            if self._behind:
                with contextlib.suppress(StateError):
                    await self.run(power_cut.touch)

    async def close(self) -> None:
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._catching_up is not None:
            self._catching_up.cancel()
        self._reader.close()
        self._connection.close()
        os.close(self._lock)

    def _serve(self) -> None:
        while (first := self._work.get()) is not None:
            jobs, ends = [first], False
            while len(jobs) < BATCH and not ends and not jobs[-1].alone:
                try:
                    further = self._work.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    ends = True
                else:
                    jobs.append(further)
            last = jobs.pop() if jobs[-1].alone else None
            for group, do in ((jobs, self._commit), ([last] if last else [], self._run_alone)):
                if group:
                    self._work_off(group, do)
                for job in group:
                    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                        job.loop.call_soon_threadsafe(self._settle, job)
            if ends:
                return

    def _work_off(self, jobs: list[_Job], do: Callable[[list[_Job]], None]) -> None:
        """Whatever happens, somebody hears of it: who waits for these jobs, or the daemon."""
        if self.why is None:
            try:
                do(jobs)
            except Exception as error:  # such as a ROLLBACK that fails: nobody knows what this connection does next
                log.exception("the database's thread cannot go on")
                self._break(f"the database {self.file} cannot be used any more: {error}", jobs[0].loop)
                _fail(jobs, self.why)
            self._judge(jobs)
        else:
            _fail(jobs, self.why)

    def _judge(self, jobs: list[_Job]) -> None:
        """What the errors of SQLite mean for the database as a whole."""
        for job in jobs:
            error = job.error
            if not isinstance(error, sqlite3.Error):
                continue
            if _code(error) in _DAMAGED:
                self._break(self._damaged(error), job.loop)
                job.error = self.why
            elif _code(error) in _NO_ROOM and not self.trouble:
                self.trouble = f"the disk of {self.file.parent} is full or does not write ({error})"
                log.error("%s: nothing new is kept until it does; then all goes on by itself", self.trouble)

    def _damaged(self, error: sqlite3.Error) -> str:
        return f"the database {self.file} is damaged ({error}): {MEND}"

    def _break(self, why: str, loop: asyncio.AbstractEventLoop) -> None:
        self.why = self.why or StateError(why)
        with contextlib.suppress(RuntimeError):  # the loop is closed: we end anyway
            loop.call_soon_threadsafe(self.broken.set)

    def _run_alone(self, jobs: list[_Job]) -> None:
        [job] = jobs
        try:
            job.result = job.work(self._connection)
        except Exception as error:
            job.error = error
        self._log_begins |= self._was_checkpointed()

    def _commit_at_once(self, jobs: list[_Job]) -> None:
        """For the event loop: where another process writes this is SQLITE_BUSY, and nothing was done."""
        self._connection.execute("PRAGMA busy_timeout=0")
        self._commit(jobs)
        self._connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")

    def _commit(self, jobs: list[_Job]) -> None:
        execute, before = self._connection.execute, self._connection.total_changes
        try:
            self._force(any(job.forced for job in jobs))
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                execute("SAVEPOINT job")
                try:
                    job.result = job.work(self._connection)
                except Exception as error:  # whatever a job raises is its caller's, the others of the group go on
                    job.error = error
                    if isinstance(error, sqlite3.Error) and not self._connection.in_transaction:
                        raise  # SQLite took all of it back
                    execute("ROLLBACK TO job")
                execute("RELEASE job")
            changed = self._connection.total_changes > before
            if changed and (self.trouble or (self._forced and self._behind)):
                power_cut.touch(self._connection)  # else rows that stay as they are would pass for written and forced
            execute("COMMIT")
            if changed:
                self._behind = not self._forced
                self._log_begins = self._forced and self._was_checkpointed()
            failed = any(isinstance(job.error, sqlite3.Error) for job in jobs)
            if self.trouble and not failed and changed:
                log.warning("the disk of %s takes what is written again: all goes on", self.file.parent)
                self.trouble = ""
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            _fail(jobs, error)

    def _force(self, forced: bool) -> None:
        """What is not forced brings no log back into the database, either: that takes an fsync of both."""
        if forced != self._forced:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if forced else 'NORMAL'}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES if forced else 0}")
            self._forced = forced

    def _was_checkpointed(self) -> bool:
        """Has the log been brought back into the database, which nothing else writes to?"""
        before, self._checkpointed = self._checkpointed, _written(self.file)
        return before != self._checkpointed


def _fail(jobs: Iterable[_Job], error: Exception | None) -> None:
    for job in jobs:
        job.error = error


def _written(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # it was deleted, which is found elsewhere
        return 0


def _lock(folder: Path) -> int:
    """Make the state folder where there is none, and keep other daemons out until this descriptor is closed."""
    try:
        folder_modes.private(folder)
        folder.chmod(0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"STATE_DIR {folder} is not usable: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InUse(f"another Roommate runs on STATE_DIR {folder}: stop it or choose another folder") from None
    return lock


def _reader(file: Path) -> sqlite3.Connection:
    """Waits for nothing, writes nothing, and holds little."""
    reader = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    reader.execute("PRAGMA query_only=ON")
    reader.execute("PRAGMA cache_size=-256")
    return reader


def _refuse_to_begin_anew(folder: Path) -> None:
    """Raises StateError where rooms have files and the database is not there or empty: it was lost, most likely."""
    file = folder / DATABASE
    if file.exists() and file.stat().st_size:
        return
    if is_begun(folder):
        how = "empty" if file.exists() else "not there"
        raise StateError(
            f"the database {file} is {how}, although rooms have files beside it: {MEND}; "
            f"or move {folder / ROOMS} away to begin anew on purpose"
        )


def _let_it_shrink(c: sqlite3.Connection, folder: Path) -> None:
    """Rewrite a file of before, once, so that free pages can be given back; while it is large, at a later start.

    What is forgotten in time makes it small; until then its free pages are used again.
    """
    [mode] = c.execute("PRAGMA auto_vacuum").fetchone()
    [pages] = c.execute("PRAGMA page_count").fetchone()
    [free] = c.execute("PRAGMA freelist_count").fetchone()
    [size] = c.execute("PRAGMA page_size").fetchone()
    used = (pages - free) * size
    if mode == _INCREMENTAL or used > REWRITTEN_AT_START or shutil.disk_usage(folder).free < 4 * used:
        return
    try:
        c.execute("PRAGMA auto_vacuum=INCREMENTAL")
        c.execute("VACUUM")
    except sqlite3.Error as error:
        log.info("the database was not rewritten: %s", error)


def is_begun(folder: Path) -> bool:
    """Has a daemon ever made a room in this state folder?"""
    return any(path.is_dir() for path in (folder / ROOMS).glob("*"))


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code, 0 where the error is another's."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


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
    file = folder / DATABASE
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as c:
            c.execute("BEGIN")
            yield c
    except sqlite3.Error as error:
        raise StateError(f"the database {file} cannot be read: {error}") from error


def damage(folder: Path) -> str:
    """What ``PRAGMA quick_check`` finds wrong in the database of a state folder, at first; empty when it is whole.

    Reads all of it, on a connection of its own. Blocks.
    """
    try:
        with reading(folder) as c:
            [result] = c.execute("PRAGMA quick_check(1)").fetchone()
    except StateError as error:
        return str(error)
    return "" if result == "ok" else " ".join(str(result).split())


class _Job:
    __slots__ = ("alone", "error", "forced", "future", "loop", "result", "work")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        loop: asyncio.AbstractEventLoop,
        *,
        alone: bool = False,
        forced: bool = True,
    ) -> None:
        self.alone = alone
        self.forced = forced
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def failure(self) -> Exception | None:
        """What its caller hears of."""
        if isinstance(self.error, sqlite3.Error):
            return StateError(f"the state database did not take this: {self.error}")
        return self.error
