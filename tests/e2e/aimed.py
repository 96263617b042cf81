"""`roommate run` that is killed at an aimed point: just before or just after the Nth commit since a file appeared, to
the database or to what encryption remembers.

The file `AIM` in the working folder holds the number; each of these points takes one off, and the last one is SIGKILL.
Between two of them lies whatever the daemon does elsewhere: files, containers, Matrix.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

from roommate import cli, daemon
from roommate.store import CryptoRecords, Database

AIM = Path("aim")

_alone = threading.Lock()


class AimedDatabase(Database):
    def __init__(self, connection: sqlite3.Connection, reader: sqlite3.Connection, lock: int, file: Path) -> None:
        self._changes = connection.total_changes
        connection.set_trace_callback(self._begins)
        super().__init__(connection, reader, lock, file)

    def _begins(self, statement: str) -> None:
        if statement == "COMMIT" and self._connection.total_changes > self._changes:
            _point()

    def _commit(self, jobs: list[Any]) -> None:
        super()._commit(jobs)
        if self._connection.total_changes > self._changes:
            self._changes = self._connection.total_changes
            _point()


class AimedRecords(CryptoRecords):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._changes = self._connection.total_changes
        self._connection.set_trace_callback(self._begins)

    def _begins(self, statement: str) -> None:
        if statement == "COMMIT" and self._connection.total_changes > self._changes:
            _point()

    def _do(self, work: Any) -> Any:
        result = super()._do(work)
        if self._connection.total_changes > self._changes:
            self._changes = self._connection.total_changes
            _point()
        return result


def _point() -> None:
    with _alone:
        if not AIM.exists():
            return
        left = int(AIM.read_text()) - 1
        if left:
            AIM.write_text(str(left))
            return
        AIM.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    daemon.Database = AimedDatabase  # type: ignore[attr-defined]
    daemon.CryptoRecords = AimedRecords  # type: ignore[attr-defined]
    cli.main()
