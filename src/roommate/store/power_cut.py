"""Whether the host lost what was written at last: it has started again, and nobody had closed the database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another one with each start of the host: see random(4)."""


def note(c: sqlite3.Connection, *, was_open: bool) -> None:
    """`was_open`: the database has a log, so its last process was cut off. One that was killed on a host that goes on
    has lost nothing."""
    boot, started = _boot(), int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)
    before = c.execute("SELECT boot FROM power_cut").fetchone()
    if before is None:
        c.execute("INSERT INTO power_cut VALUES (?, 0)", (boot,))
    elif before[0] != boot or not boot:
        c.execute("UPDATE power_cut SET boot = ?, at = iif(?, ?, at)", (boot, was_open, started))


def at(c: sqlite3.Connection) -> int:
    """When the host started after the last one, in ms since 1970: of what was done before some may not be known. 0 for
    never."""
    return int(c.execute("SELECT coalesce(max(at), 0) FROM power_cut").fetchone()[0])


def touch(c: sqlite3.Connection) -> None:
    """A change that means nothing: SQLite writes none of a row that stays as it is."""
    c.execute("UPDATE power_cut SET rowid = -rowid")


def _boot() -> str:
    try:
        return BOOT.read_text("ascii").strip()
    except OSError:
        return ""
