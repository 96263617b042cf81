"""What hooks reported: each IPC file is one row, by its name, so that a crash neither loses nor doubles it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from roommate.domain import Draft, HookEvent, HookKind, RoomId
from roommate.store import outbox
from roommate.store.codec import HOOK, decode, encode
from roommate.store.database import Database, Work

log = logging.getLogger(__name__)

KEPT = 1000
"""Rows of a room that stay: more than may wait for their file to be deleted, or to be shown where that is in time."""

MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that nobody has dealt with."""

    id: int
    event: HookEvent


class Ipc:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def commit(self, room_id: RoomId, found: Sequence[tuple[str, HookEvent]]) -> None:
        """Keep events by the names of their files; known ones are passed over. Of a room that tells more than can
        be shown the oldest go unseen."""

        def work(c: sqlite3.Connection) -> int:
            c.executemany(
                "INSERT INTO ipc (room_id, name, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(room_id, name, encode(event)) for name, event in found],
            )
            gone = c.execute(
                """DELETE FROM ipc WHERE room_id = ?1 AND id <
                   (SELECT id FROM ipc WHERE room_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) RETURNING state""",
                (room_id, KEPT),
            ).fetchall()
            return sum(state == "new" for (state,) in gone)

        if unseen := await self._db.run(work):
            log.warning("%d hook files of this room were passed over: it leaves more than can be shown", unseen)

    async def waiting(self, room_id: RoomId) -> Sequence[Heard]:
        """What is to be shown, in order."""

        def work(c: sqlite3.Connection) -> Sequence[Heard]:
            query = "SELECT id, body FROM ipc WHERE room_id = ? AND state = 'new' ORDER BY id LIMIT ?"
            rows = [(row, _decode(body)) for row, body in c.execute(query, (room_id, MOST_AT_ONCE)).fetchall()]
            showing([row for row, event in rows if event is None], None)(c)
            return [Heard(row, event) for row, event in rows if event is not None]

        return await self._db.run(work)

    async def shown(self, rows: Iterable[int], turn_id: int | None = None, drafts: Sequence[Draft] = ()) -> None:
        """These are dealt with: by this turn's message, or by these drafts, in one transaction."""

        def work(c: sqlite3.Connection) -> None:
            showing(rows, turn_id)(c)
            outbox.insert(c, drafts)

        await self._db.run(work)

    async def of_turn(self, turn_id: int) -> Sequence[HookEvent]:
        """What a turn's message showed, for the message to show it again after a restart."""
        rows = await self._db.rows("SELECT body FROM ipc WHERE turn_id = ? ORDER BY id", turn_id)
        return [event for (body,) in rows if (event := _decode(body)) is not None]


def showing(rows: Iterable[int], turn_id: int | None) -> Work[object]:
    """These are dealt with, by this turn's message if any."""
    query = "UPDATE ipc SET state='done', turn_id=? WHERE id=?"
    return lambda c: c.executemany(query, [(turn_id, row) for row in rows])


def _decode(body: str) -> HookEvent | None:
    """None for a kind that only a later release knows, which was rolled back."""
    event: HookEvent = decode(HOOK, body)
    return replace(event, kind=HookKind(event.kind)) if event.kind in set(HookKind) else None
