"""What is forgotten in time, so that a database does not grow for ever; and why nothing is done twice for that.

An event whose row goes is still known by its hash (`known`): it is never answered again, whoever sends it again, and a
reply to a message of the bot is still one. Turns stay, and what they have cost; what goes are their steps.
"""

from __future__ import annotations

import asyncio
import bisect
import functools
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from roommate.errors import StateError
from roommate.store.database import Database
from roommate.store.seen_events import remember
from roommate.store.turns import MOST_TURNS

log = logging.getLogger(__name__)

DAY = 86_400.0
EVERY = 6 * 3600.0
AT_ONCE = 30
"""Rows that go in one piece: a room that wants to write meanwhile waits for a piece at most, a few milliseconds."""
TURNS_AT_ONCE = 50
PAGES_AT_ONCE = 64
BREATH = 0.02
"""Seconds between two pieces."""
SPARE_PAGES = 1024
"""Free pages that stay in the file for what comes next."""


@dataclass(frozen=True, slots=True)
class Age:
    """What is old by now. Rows have no time of their own: marks say how far their tables went at what time."""

    before: float
    """Seconds since 1970."""
    turn: int
    """The first turn that is not old."""
    seq: int
    """The newest row of the inbox that is old; so are those before it."""
    row: int
    """The same of the outbox."""
    ipc: int
    """The same of what hooks reported."""


Swept = tuple[int, int]
"""The row to go on behind, and how many went."""
Piece = Callable[[sqlite3.Connection, Age, int], Swept | None]
"""Forgets some of what is old behind a row; gives None at the end."""


class Retention:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def run(self, days: int) -> None:
        """Forget what is older than that, now and every six hours; 0 keeps all."""
        while days:
            try:
                if forgotten := await self.sweep(time.time() - days * DAY):
                    log.info("%d rows that are older than %d days were forgotten", forgotten, days)
                await self.shrink()
            except StateError as error:
                log.error("%s", error)
            await asyncio.sleep(EVERY)

    async def sweep(self, before: float) -> int:
        """Forget what is older (seconds since 1970), in small pieces; gives how many rows."""
        await self._db.run(_mark)
        age = await self._db.run(lambda c: _age(c, before))
        forgotten = 0
        for piece in (_steps, _ipc, _cards, _files, _inbox, _outbox):
            behind = 0
            while swept := await self._db.run(functools.partial(_do, piece, age, behind)):
                behind, rows = swept
                forgotten += rows
                await asyncio.sleep(BREATH)
        return forgotten

    async def shrink(self) -> None:
        """Give free pages back to the disk."""
        while await self._db.run(_free_pages) > SPARE_PAGES:
            # A script: this statement gives a row without columns for each page, behind the first of which Python ends
            # another one.
            await self._db.alone(lambda c: c.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))
            await asyncio.sleep(BREATH)


def _free_pages(c: sqlite3.Connection) -> int:
    """That can be given back: none, where the file was made before we thought of that and was not rewritten yet."""
    [mode] = c.execute("PRAGMA auto_vacuum").fetchone()
    [free] = c.execute("PRAGMA freelist_count").fetchone()
    return int(free) if mode == 2 else 0


def _do(piece: Piece, age: Age, behind: int, c: sqlite3.Connection) -> Swept | None:
    return piece(c, age, behind)


def _age(c: sqlite3.Connection, before: float) -> Age:
    def started(turn: int) -> float:
        query = "SELECT started FROM turns WHERE id >= ? ORDER BY id LIMIT 1"
        return float(c.execute(query, (turn,)).fetchone()[0])

    [last] = c.execute("SELECT coalesce(max(id), 0) FROM turns").fetchone()
    turn = 1 + bisect.bisect_left(range(1, last + 1), before, key=started)
    query = "SELECT at, inbox, outbox, ipc FROM marks WHERE at < ? ORDER BY at DESC LIMIT 1"
    at, seq, row, ipc = c.execute(query, (before,)).fetchone() or (0.0, 0, 0, 0)
    c.execute("DELETE FROM marks WHERE at < ?", (at,))
    return Age(before, turn, seq, row, ipc)


def _mark(c: sqlite3.Connection) -> None:
    c.execute(
        """INSERT INTO marks VALUES (?, (SELECT coalesce(max(seq), 0) FROM inbox),
             (SELECT coalesce(max(id), 0) FROM outbox), (SELECT coalesce(max(id), 0) FROM ipc))""",
        (time.time(),),
    )


def _steps(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    """Of turns that no model is shown any more. From the first on: a turn without its prompt is known as forgotten."""
    turns = c.execute(
        "SELECT turn_id FROM steps WHERE turn_id > ? AND turn_id < ? GROUP BY turn_id ORDER BY turn_id LIMIT ?",
        (behind, age.turn, TURNS_AT_ONCE),
    ).fetchall()
    left = AT_ONCE
    for (turn,) in turns:
        old = c.execute(
            """SELECT 1 FROM turns JOIN conversations ON conversation_id = conversations.id
               WHERE turns.id = ? AND ended < ? AND (turns.id <= cleared OR turns.id <
                 (SELECT id FROM turns AS newer WHERE newer.room_id = turns.room_id
                  ORDER BY id DESC LIMIT 1 OFFSET ?))""",
            (turn, age.before, MOST_TURNS - 1),
        ).fetchone()
        if old:
            left -= c.execute(
                "DELETE FROM steps WHERE id IN (SELECT id FROM steps WHERE turn_id = ? ORDER BY id LIMIT ?)",
                (turn, left),
            ).rowcount
            if left <= 0:
                return behind, AT_ONCE  # this turn may have more
        behind = turn
    return (behind, AT_ONCE - left) if turns else None


def _ipc(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    rows = c.execute(
        """SELECT id FROM ipc WHERE id > ? AND id <= ? AND state = 'done'
             AND (turn_id IS NULL OR turn_id NOT IN (SELECT id FROM turns WHERE stop IS NULL))
           ORDER BY id LIMIT ?""",
        (behind, age.ipc, AT_ONCE),
    ).fetchall()
    c.executemany("DELETE FROM ipc WHERE id = ?", rows)
    return (rows[-1][0], len(rows)) if rows else None


def _cards(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    """Those that are decided, but for the newest: the number of a card must not come again."""
    rows = c.execute(
        """SELECT id FROM cards WHERE expires < ? AND verdict IS NOT NULL AND NOT pending
             AND id < (SELECT max(id) FROM cards) LIMIT ?""",
        (age.before, AT_ONCE),
    ).fetchall()
    c.executemany("DELETE FROM cards WHERE id = ?", rows)
    return (behind, len(rows)) if rows else None


def _files(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    """What lies in a workspace stays there."""
    rows = c.execute(
        "SELECT id FROM received_files WHERE seq <= ? AND state != 'coming' LIMIT ?", (age.seq, AT_ONCE)
    ).fetchall()
    c.executemany("DELETE FROM received_files WHERE id = ?", rows)
    return (behind, len(rows)) if rows else None


def _inbox(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    """What is dealt with for good."""
    rows = c.execute(
        """SELECT seq, event_id FROM inbox WHERE seq > ? AND seq <= ? AND state = 'done'
             AND NOT EXISTS (SELECT 1 FROM turns WHERE inbox_seq = seq AND stop IS NULL)
             AND seq NOT IN (SELECT decided_seq FROM cards WHERE pending AND decided_seq IS NOT NULL)
           ORDER BY seq LIMIT ?""",
        (behind, age.seq, AT_ONCE),
    ).fetchall()
    remember(c, [event for _, event in rows], ours=False)
    c.executemany("DELETE FROM inbox WHERE seq = ?", [(seq,) for seq, _ in rows])
    return (rows[-1][0], len(rows)) if rows else None


def _outbox(c: sqlite3.Connection, age: Age, behind: int) -> Swept | None:
    """What has arrived, or never will, and what nothing refers to that is still to happen."""
    rows = c.execute(
        """SELECT id, event_id, event_type, edits FROM outbox AS old WHERE id > ? AND id <= ? AND state != 'unsent'
             AND (once IS NULL OR substr(once, 1, instr(once, ':')) IN
                    ('file:', 'again:', 'tap:', 'setup:', 'tokens:', 'mesh:', 'mesh-reply:', 'mesh-no:', 'asked:')
                  OR (once GLOB 'queued:*' OR once GLOB 'live:*') AND once NOT IN
                     (SELECT 'queued:' || seq FROM inbox WHERE state != 'done' UNION ALL
                      SELECT 'live:' || seq FROM inbox WHERE state != 'done')
                  OR once GLOB 'shown-*' AND NOT EXISTS
                     (SELECT 1 FROM turns WHERE stop IS NULL AND once GLOB 'shown-' || turns.id || '-*'))
             AND id NOT IN (SELECT live FROM turns WHERE stop IS NULL AND live IS NOT NULL)
             AND NOT EXISTS (SELECT 1 FROM cards WHERE outbox_id = old.id)
             AND NOT EXISTS (SELECT 1 FROM outbox AS open WHERE open.edits = old.id AND open.state = 'unsent')
             AND NOT EXISTS (SELECT 1 FROM outbox AS open WHERE open.redacts = old.id AND open.state = 'unsent')
           ORDER BY id LIMIT ?""",
        (behind, age.row, AT_ONCE),
    ).fetchall()
    # An edit is no message of its own: nobody can reply to it.
    said = [event for _, event, kind, edits in rows if event and kind == "m.room.message" and edits is None]
    remember(c, said, ours=True)
    ids = [(row,) for row, *_ in rows]
    c.executemany("UPDATE outbox SET edits = NULL WHERE edits = ?", ids)
    c.executemany("UPDATE outbox SET redacts = NULL WHERE redacts = ?", ids)
    c.executemany("DELETE FROM outbox WHERE id = ?", ids)
    return (rows[-1][0], len(rows)) if rows else None
