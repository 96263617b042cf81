"""``crypto.db``: what end-to-end encryption remembers, in a file of its own that nothing ever puts back in time.

A ratchet that goes back uses a key twice. So this file is in no backup and no copy that an update makes, and its
transactions are its own: `docs/decisions/012-encryption-remembers-by-itself.md` says how it stays in step with the
database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from roommate.errors import StateError
from roommate.host import durable_files

T = TypeVar("T")

FILE = "crypto.db"
KEY = "crypto.key"

_SHAPE = 1
_TABLE = """
    CREATE TABLE records (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        at INTEGER NOT NULL,             -- when it was put first, ms since 1970
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID
"""


def device_in(folder: Path) -> str:
    """The device whose keys are in a state folder, also while a daemon runs on it; empty for none. Blocks."""
    try:
        uri = f"{(folder / FILE).as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as c:
            row = c.execute("SELECT value FROM records WHERE kind='account'").fetchone()
    except sqlite3.Error:
        return ""
    return "" if row is None else str(json.loads(row[0])["device"])


class Transaction:
    """Implements `matrix.crypto.records.Records`: what is done in it counts wholly or not at all."""

    def __init__(self, connection: sqlite3.Connection, without: set[str]) -> None:
        """`without`: kinds that have no record, which it keeps up to date."""
        self._execute = connection.execute
        self._without = without
        self.found_none: set[str] = set()
        """Further ones, which count once this is committed."""

    def get(self, kind: str, key: str) -> str | None:
        row = self._execute("SELECT value FROM records WHERE kind=? AND key=?", (kind, key)).fetchone()
        return None if row is None else str(row[0])

    def put(self, kind: str, key: str, value: str) -> None:
        self._without.discard(kind)
        self.found_none.discard(kind)
        self._execute(
            "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (kind, key, value, int(time.time() * 1000)),
        )

    def drop(self, kind: str, key: str) -> None:
        self._execute("DELETE FROM records WHERE kind=? AND key=?", (kind, key))

    def drop_all(self, kind: str) -> None:
        self._execute("DELETE FROM records WHERE kind=?", (kind,))

    def drop_before(self, kind: str, at: float) -> None:
        self._execute("DELETE FROM records WHERE kind=? AND at < ?", (kind, int(at * 1000)))

    def keep_newest(self, kind: str, most: int) -> None:
        self._execute(
            """DELETE FROM records WHERE kind=?1 AND key IN
               (SELECT key FROM records WHERE kind=?1 ORDER BY at DESC, key DESC LIMIT -1 OFFSET ?2)""",
            (kind, most),
        )

    def all(self, kind: str, prefix: str = "") -> list[tuple[str, str]]:
        found = self._execute(
            "SELECT key, value FROM records WHERE kind=? AND key >= ? AND key < ? ORDER BY key",
            (kind, prefix, f"{prefix}\U0010ffff"),
        )
        records = [(key, value) for key, value in found]
        return records if prefix else self._noted(kind, records)

    def some(self, kind: str, most: int) -> list[tuple[str, str]]:
        found = self._execute("SELECT key, value FROM records WHERE kind=? ORDER BY key LIMIT ?", (kind, most))
        return self._noted(kind, [(key, value) for key, value in found])

    def oldest_first(self, kind: str) -> list[tuple[str, str, float]]:
        found = self._execute("SELECT key, value, at FROM records WHERE kind=? ORDER BY at, key", (kind,))
        return self._noted(kind, [(key, value, at / 1000) for key, value, at in found])

    def _noted(self, kind: str, found: list[T]) -> list[T]:
        if not found:
            self.found_none.add(kind)
        return found


class CryptoRecords:
    """Implements `matrix.crypto.records.Vault`: one transaction after the other, each on the disk when it returns."""

    def __init__(self, folder: Path) -> None:
        """Opens, or makes, the file and its key in the state folder, which is locked by us. Raises StateError."""
        self.file, key = folder / FILE, folder / KEY
        self._alone = threading.Lock()
        self._without: set[str] = set()
        try:
            if not key.exists():
                if self.file.exists() and self.file.stat().st_size:
                    raise StateError(f"{key} is not there, without which {self.file} cannot be read: move that away")
                durable_files.replace(key, os.urandom(32), lasting=True)
            self.key = key.read_bytes()
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.file.chmod(0o600)
            self._connection = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA secure_delete=ON")
            [shape] = self._connection.execute("PRAGMA user_version").fetchone()
            if shape > _SHAPE:
                raise StateError(f"{self.file} was written by a newer Roommate: install that one")
            if shape < _SHAPE:
                self._connection.executescript(f"BEGIN; {_TABLE}; PRAGMA user_version={_SHAPE}; COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"{self.file} cannot be opened: {error}; moved away, the bot begins anew as another device"
            ) from error

    def has_none(self, kind: str) -> bool:
        return kind in self._without

    async def do(self, work: Callable[[Transaction], T]) -> T:
        """Do `work` in a transaction. Raises StateError where the disk says no, and whatever `work` raises."""
        return await asyncio.shield(asyncio.to_thread(self._do, work))

    def _do(self, work: Callable[[Transaction], T]) -> T:
        execute = self._connection.execute
        with self._alone:
            try:
                execute("BEGIN IMMEDIATE")
                try:
                    transaction = Transaction(self._connection, self._without)
                    result = work(transaction)
                    execute("COMMIT")
                    self._without |= transaction.found_none
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StateError(f"{self.file} did not take this: {error}") from error
            return result

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._alone:
            self._connection.close()
