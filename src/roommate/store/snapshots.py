"""Copies of the database: made of one moment while a daemon runs, checked, and put back where none does."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import StateError
from roommate.host import durable_files
from roommate.store import audit, mesh_nonces, mesh_peers
from roommate.store.database import DATABASE, MEND, locked, reading
from roommate.store.inbox import LOGIN
from roommate.store.migrations import undo


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy is of."""

    version: int
    """Of the database's shape: how many migrations it has seen."""
    audit: audit.Chain


def copy(folder: Path, to: Path) -> Copy:
    """Copy the database of a state folder into the new file `to` (0600). Writers are not held up. Blocks.

    Raises StateError: there is none, or the disk is full; then `to` is gone.
    """
    try:
        os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            with reading(folder) as source, contextlib.closing(sqlite3.connect(to, isolation_level=None)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")  # one file, that nothing has to lie beside
            durable_files.to_disk(to)
            return check(to)
        except BaseException:
            to.unlink()
            raise
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"the database of {folder} cannot be copied to {to}: {error}") from error


def check(file: Path) -> Copy:
    """Is a copy whole? Raises StateError when it is damaged. Blocks."""
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as c:
            [result] = c.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise StateError(f"{file} is damaged: {result}")
            [version] = c.execute("PRAGMA user_version").fetchone()
            return Copy(version, audit.verify(c))
    except sqlite3.Error as error:
        raise StateError(f"{file} is no whole database: {error}") from error


def take_down(folder: Path, version: int) -> None:
    """Give the database of a state folder the shape that a release before knows, if there is any. Blocks.

    Raises StateError: a daemon runs there, or what made the shape cannot be undone; then it is as it was.
    """
    file = folder / DATABASE
    if not file.exists():
        return
    with locked(folder):
        try:
            with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as c:
                undo(c, version)
        except sqlite3.Error as error:
            raise StateError(f"the database {file} cannot be made as it was: {error}") from error


def version(folder: Path) -> int:
    """Of the database of a state folder; 0 where there is none. Raises StateError."""
    if not (folder / DATABASE).exists():
        return 0
    with reading(folder) as c:
        return int(c.execute("PRAGMA user_version").fetchone()[0])


def put_back(file: Path, folder: Path) -> None:
    """Make a copy the database of a state folder again, in place of the one that is there, if any. Blocks.

    The login stays the one that is there: its tokens may have changed since, and those of the copy are dead then. At
    each moment there is one whole database, the old or the copy. Raises StateError: a daemon runs there, or the disk is
    full.
    """
    with locked(folder):
        coming = folder / f"{DATABASE}.coming"
        try:
            shutil.copyfile(file, coming)
            coming.chmod(0o600)
            _take_over_login(folder / DATABASE, coming)
            _take_over_trust(folder / DATABASE, coming)
            durable_files.to_disk(coming)
            # First these: the journal of one database must never be replayed into another.
            for beside in (f"{DATABASE}-wal", f"{DATABASE}-shm"):
                (folder / beside).unlink(missing_ok=True)
            coming.replace(folder / DATABASE)
            durable_files.to_disk(folder)
        except (OSError, sqlite3.Error) as error:
            coming.unlink(missing_ok=True)
            raise StateError(f"{file} cannot be put back into {folder}: {error}") from error


def _take_over_login(there: Path, coming: Path) -> None:
    """Into a copy, from the database whose place it takes, as far as both know of it."""
    if not there.exists():
        return
    with contextlib.closing(sqlite3.connect(coming, isolation_level=None, uri=True)) as c:
        known = {name for _, name, *_ in c.execute("PRAGMA table_info(sync)")}
        with contextlib.suppress(sqlite3.Error):  # what is there may be damaged: then the copy's is all there is
            c.execute("ATTACH ? AS there", (f"{there.as_uri()}?mode=ro",))
            known &= {name for _, name, *_ in c.execute("PRAGMA there.table_info(sync)")}
            names = ", ".join(name for name in LOGIN if name in known)
            c.execute(f"UPDATE sync SET ({names}) = (SELECT {names} FROM there.sync)")  # noqa: S608 — names of ours


def _take_over_trust(there: Path, coming: Path) -> None:
    """Whom other daemons' requests are taken from does not become again what it was: into a copy, from the database
    whose place it takes, as far as both know of it. Where that cannot be read nobody is trusted until an operator says
    so again. What was seen until now counts as not known in any case."""
    with contextlib.closing(sqlite3.connect(coming, isolation_level=None, uri=True)) as c:
        if not c.execute("SELECT 1 FROM sqlite_master WHERE name='mesh_floor'").fetchone():
            return
        mesh_nonces.raise_floor(c)
        try:
            c.execute("ATTACH ? AS there", (f"{there.as_uri()}?mode=ro",))
            c.execute("BEGIN")
            for name in ("mesh_peers", "mesh_nonces", "mesh_counts"):
                both = [
                    {column for _, column, *_ in c.execute(f"PRAGMA {where}.table_info({name})")}
                    for where in ("main", "there")
                ]
                columns = ", ".join(sorted(both[0] & both[1]))
                c.execute(f"DELETE FROM main.{name}")  # noqa: S608 — names of ours
                c.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM there.{name}")  # noqa: S608
            c.execute("COMMIT")
        except sqlite3.Error:  # it is damaged, or gone
            if c.in_transaction:
                c.execute("ROLLBACK")
            mesh_peers.doubt(c)


def rescue(c: sqlite3.Connection, file: Path, disk: int) -> str:
    """Save a database whose file was taken away from under this connection, while it is open; says what came of it.

    It goes back to where it was, or beside what is there by now; nowhere, where another `disk` (a device's number) is
    by now, for its own may come back. Blocks.
    """
    try:
        if file.parent.stat().st_dev != disk:
            return f"another disk is at {file.parent} now: mount the right one and start again"
        place = _put_beside(c, file)
    except (OSError, sqlite3.Error) as error:
        return f"it could not be saved ({error}): {MEND}"
    if place == file:
        return "it was put back as it was, and nothing is lost"
    return f"what the daemon knew is in {place}, for you to choose which of them is to count"


def _put_beside(c: sqlite3.Connection, file: Path) -> Path:
    coming = file.with_name(f"{DATABASE}.coming")
    coming.unlink(missing_ok=True)
    os.close(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(coming, isolation_level=None)) as target:
        c.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    durable_files.to_disk(coming)
    # First these: the journal of one database must never be replayed into another.
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    place = file
    try:
        os.link(coming, place)  # never over what somebody has put there
    except FileExistsError:
        place = file.with_name(f"{DATABASE}.rescued-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        os.link(coming, place)
    coming.unlink()
    durable_files.to_disk(file.parent)
    return place
