"""Cards: questions that wait for a person's ✅ or ❌, over restarts, until they expire."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from roommate.store import outbox
from roommate.store.database import Database
from roommate.store.inbox import take
from roommate.words import Draft, EventId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Card:
    id: int
    thread: EventId | None
    expired: bool


class Cards:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def ask(self, seq: int, what: str, thread: EventId | None, draft: Draft, seconds: float) -> None:
        """Put up a card for what an inbox row asks, in its thread; it is open for so many seconds."""

        def work(c: sqlite3.Connection) -> None:
            if take(c, seq):
                [row] = outbox.insert(c, [draft])
                c.execute(
                    "INSERT INTO cards (room_id, outbox_id, what, thread, expires) VALUES (?, ?, ?, ?, ?)",
                    (draft.room_id, row, what, thread, time.time() + seconds),
                )

        await self._db.run(work)

    async def open(self, room_id: RoomId, event_id: EventId) -> Card | None:
        """The undecided card that this event shows."""

        def work(c: sqlite3.Connection) -> Card | None:
            row = c.execute(
                """SELECT cards.id, thread, expires FROM cards JOIN outbox ON outbox_id = outbox.id
                   WHERE outbox.event_id = ? AND cards.room_id = ? AND verdict IS NULL""",
                (event_id, room_id),
            ).fetchone()
            if row is None:
                return None
            card, thread, expires = row
            return Card(card, thread, expires < time.time())

        return await self._db.run(work)

    async def decide(self, card: Card, seq: int, verdict: str, by: UserId, draft: Draft) -> bool:
        """Close a card with what an inbox row says, and say so; False when it was closed before."""

        def work(c: sqlite3.Connection) -> bool:
            if not take(c, seq):
                return False
            closed = c.execute(
                "UPDATE cards SET verdict=?, decided_by=? WHERE id=? AND verdict IS NULL", (verdict, by, card.id)
            ).rowcount
            if closed:
                outbox.insert(c, [draft])
            return bool(closed)

        return await self._db.run(work)
