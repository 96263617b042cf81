"""The audit log: who did what, append-only, each row chained to the one before by its hash."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from roommate.domain import Deed, DeedOutcome, RoomId
from roommate.errors import StateError
from roommate.store.database import Database

log = logging.getLogger(__name__)

LONGEST = 200
"""Characters of a field that are kept."""
LONGEST_DETAIL = 500

DAY = 86_400.0
FORGET_EVERY = 3600.0
FORGET_AT_ONCE = 200
BREATH = 0.05
"""Seconds between two pieces of forgetting: rooms come first."""

_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_COLUMNS = "number, at, who, via, what, outcome, room_id, subject, detail, hash"


@dataclass(frozen=True, slots=True)
class Record:
    """A row: the deed, its place in the chain, and when it was, in ms since 1970."""

    number: int
    at: int
    deed: Deed
    hash: bytes


@dataclass(frozen=True, slots=True)
class Chain:
    """What a walk along the whole log found."""

    first: int
    """Number of the oldest row that is kept."""
    last: int
    head: str
    """Hash of the newest row, as hex. Whoever keeps it elsewhere can tell later that nothing before it was changed."""
    broken: int | None = None
    """Number of the first row that is changed or missing."""


class Audit:
    """Implements `Audit`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def record(self, deed: Deed) -> None:
        await self._db.run(lambda c: insert(c, [deed]))

    async def record_once(self, deed: Deed, since: float) -> None:
        """Unless this very deed was recorded since then (seconds since 1970): who tells of it was killed before it
        could note that it had."""
        query = """SELECT 1 FROM audit WHERE at >= ? AND who = ? AND via = ? AND what = ? AND outcome = ?
                   AND room_id IS ? AND subject = ? AND detail = ?"""

        def work(c: sqlite3.Connection) -> None:
            if c.execute(query, (int(since * 1000), *_fields(deed))).fetchone() is None:
                insert(c, [deed])

        await self._db.run(work)

    async def newest(self, most: int, room_id: RoomId | None = None) -> Sequence[Record]:
        """The newest rows, of one room if given, oldest first."""
        return await self._db.run(lambda c: read(c, most=most, room_id=room_id))

    async def run(self, days: int) -> None:
        """Forget what is older than that, now and every hour; 0 keeps all."""
        while days:
            try:
                before, forgotten = time.time() - days * DAY, 0
                while some := await self._db.run(lambda c, before=before: forget(c, before)):  # type: ignore[misc]
                    forgotten += some
                    await asyncio.sleep(BREATH)
                if forgotten:
                    log.info("the audit log forgot %d rows that are older than %d days", forgotten, days)
            except StateError as error:
                log.error("%s", error)
            await asyncio.sleep(FORGET_EVERY)


def insert(c: sqlite3.Connection, deeds: Iterable[Deed], now: float | None = None) -> None:
    """Append to the log inside of somebody's transaction."""
    at = int((time.time() if now is None else now) * 1000)
    for deed in deeds:
        number, before = c.execute(
            """SELECT number, hash FROM (SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1)
               UNION ALL SELECT number, hash FROM audit_anchor LIMIT 1"""
        ).fetchone()
        row = (number + 1, at, *_fields(deed))
        c.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _hash(before, row)))


def read(
    c: sqlite3.Connection, *, since: float = 0, most: int = 1 << 62, room_id: RoomId | None = None
) -> Sequence[Record]:
    """The newest rows, at most so many, oldest first: `since` seconds since 1970, of one room if given."""
    at = int(since * 1000)
    [first] = c.execute("SELECT min(number) FROM audit WHERE at >= ?", (at,)).fetchone() if since else (0,)
    rows = c.execute(
        f"""SELECT {_COLUMNS} FROM audit WHERE number >= ? AND at >= ? {"AND room_id = ?" if room_id else ""}
            ORDER BY number DESC LIMIT ?""",  # noqa: S608 — texts of ours
        (first, at, *([room_id] if room_id else []), most),
    ).fetchall()
    return [
        Record(number, at, Deed(who, via, what, DeedOutcome(outcome), room, subject, detail), digest)
        for number, at, who, via, what, outcome, room, subject, detail, digest in reversed(rows)
    ]


def verify(c: sqlite3.Connection) -> Chain:
    """Walk along the chain. A row that was changed breaks it there, one that is missing at its place."""
    [number, before] = c.execute("SELECT number, hash FROM audit_anchor").fetchone()
    first = number + 1
    for found, *rest, digest in c.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY number"):  # noqa: S608
        number += 1
        if found != number or digest != _hash(before, (found, *rest)):
            return Chain(first, number, before.hex(), broken=number)
        before = digest
    # Rows that are missing at the end leave no other trace than the number that the next one would have had.
    [ever] = c.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    return Chain(first, number, before.hex(), broken=number + 1 if ever > number else None)


def forget(c: sqlite3.Connection, before: float) -> int:
    """Delete the oldest rows, FORGET_AT_ONCE at most, up to the first that is not older (seconds since 1970); gives how
    many. The last of them becomes the anchor that the chain begins behind.
    """
    oldest = c.execute("SELECT number, hash, at FROM audit ORDER BY number LIMIT ?", (FORGET_AT_ONCE,)).fetchall()
    old = list(itertools.takewhile(lambda row: row[2] < before * 1000, oldest))
    if not old:
        return 0
    number, digest, _ = old[-1]
    c.execute("UPDATE audit_anchor SET number = ?, hash = ?", (number, digest))
    return c.execute("DELETE FROM audit WHERE number <= ?", (number,)).rowcount


def _fields(deed: Deed) -> tuple[str | None, ...]:
    short = (_line(text, LONGEST) for text in (deed.who, deed.via, deed.what, deed.outcome))
    room = _line(deed.room_id, LONGEST) if deed.room_id else None
    return *short, room, _line(deed.subject, LONGEST), _line(deed.detail, LONGEST_DETAIL)


def _line(text: str, longest: int) -> str:
    """One line of text that can be stored and shown."""
    text = _UNPRINTABLE.sub(" ", text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _hash(before: bytes, row: Sequence[object]) -> bytes:
    """SHA-256 of the hash before and the row's JSON: an array in the order of the columns, UTF-8, without spaces."""
    return hashlib.sha256(before + json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()).digest()
