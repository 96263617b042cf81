"""The outbox: what must arrive, each with the transaction id that makes a re-send the same event."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Iterable, Sequence

from roommate.domain import Draft, EventId, JsonObject, Outgoing, Rank, RoomId
from roommate.store import card_choice_reactions, run_again_reaction, seen_events
from roommate.store.database import Database


class Outbox:
    """Implements `OutboxStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._arrivals: dict[int, asyncio.Future[None]] = {}

    async def put(self, drafts: Sequence[Draft]) -> Sequence[int]:
        """Write drafts; gives their row ids."""
        return await self._db.run(lambda c: insert(c, drafts))

    async def unsent(self, after: int = 0) -> Sequence[Outgoing]:
        def work(c: sqlite3.Connection) -> Sequence[Outgoing]:
            rows = c.execute(
                """SELECT o.id, o.txn_id, o.room_id, o.rank, o.event_type, o.content, o.edits, o.redacts, o.upload,
                          o.once, o.state_key, target.event_id
                   FROM outbox o LEFT JOIN outbox target ON target.id = coalesce(o.edits, o.redacts)
                   WHERE o.state = 'unsent' AND o.id > ? ORDER BY o.id""",
                (after,),
            )
            return [
                Outgoing(
                    row,
                    txn,
                    Draft(
                        RoomId(room),
                        json.loads(content),
                        Rank(min(rank, Rank.SIGN)),
                        kind,
                        edits,
                        redacts,
                        upload,
                        once,
                        state_key,
                    ),
                    EventId(target) if target else None,
                )
                for row, txn, room, rank, kind, content, edits, redacts, upload, once, state_key, target in rows
            ]

        return await self._db.look(work)

    async def event_of(self, row: int) -> EventId | None:
        return await self._db.look(lambda c: c.execute("SELECT event_id FROM outbox WHERE id=?", (row,)).fetchone()[0])

    async def arrived(self, row: int) -> EventId | None:
        """Wait until a row is sent, and give its event; None when it can never arrive."""
        query = "SELECT state, event_id FROM outbox WHERE id=?"
        while True:
            settled = self._arrivals.setdefault(row, asyncio.get_running_loop().create_future())
            state, event = await self._db.row(query, row)
            if state != "unsent":
                self._settled(row)
                return event  # type: ignore[no-any-return]
            await asyncio.shield(settled)  # others may wait for it, too

    def _settled(self, row: int) -> None:
        if (arrival := self._arrivals.pop(row, None)) and not arrival.done():
            arrival.set_result(None)

    async def is_ours(self, event_id: EventId) -> bool:
        """Did the daemon send this event?"""
        return await self._db.look(lambda c: is_ours(c, event_id))

    async def uploaded(self, row: int, place: JsonObject) -> None:
        def work(c: sqlite3.Connection) -> None:
            content = json.loads(c.execute("SELECT content FROM outbox WHERE id=?", (row,)).fetchone()[0])
            c.execute("UPDATE outbox SET content=?, upload=NULL WHERE id=?", (json.dumps({**content, **place}), row))

        await self._db.run(work)

    async def sent(self, row: int, event_id: str) -> None:
        """See `arrive`. Where that is lost it is sent again, which makes it the same event."""
        await self._db.run_unforced(lambda c: arrive(c, row, EventId(event_id)))
        self._settled(row)

    async def failed(self, row: int, why: str) -> None:
        await self._db.run(
            lambda c: c.execute("UPDATE outbox SET state='failed', failed=?, upload=NULL WHERE id=?", (why, row))
        )
        self._settled(row)

    async def pace(self) -> float:
        return await self._db.look(self.known_pace)

    @staticmethod
    def known_pace(c: sqlite3.Connection) -> float:
        return float(c.execute("SELECT pace FROM sync").fetchone()[0])

    async def learned(self, seconds: float) -> None:
        await self._db.run(lambda c: c.execute("UPDATE sync SET pace=?", (seconds,)))


def is_ours(c: sqlite3.Connection, event_id: EventId) -> bool:
    """Did the daemon send this event, however long ago?"""
    row = c.execute("SELECT 1 FROM outbox WHERE event_id=?", (event_id,)).fetchone()
    return row is not None or seen_events.is_ours(c, event_id)


def arrive(c: sqlite3.Connection, row: int, event: EventId) -> None:
    """It is there, and the homeserver keeps what it says: the row only tells that the event is ours. A card gets its
    choices. To be told so twice is the same as once."""
    c.execute("UPDATE outbox SET state='sent', event_id=?, content='{}', upload=NULL WHERE id=?", (event, row))
    insert(c, card_choice_reactions.put_up(c, row, event))
    insert(c, run_again_reaction.put_up(c, row, event))


def insert(c: sqlite3.Connection, drafts: Iterable[Draft]) -> list[int]:
    """Write drafts inside of somebody's transaction; one whose `once` is known is passed over and gives that row."""
    rows = []
    for draft in drafts:
        written = c.execute(
            """INSERT INTO outbox (room_id, rank, txn_id, once, event_type, content, edits, redacts, upload,
                                   state_key)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (once) DO NOTHING RETURNING id""",
            (
                draft.room_id,
                int(draft.rank),
                f"roommate-{draft.everywhere or secrets.token_hex(12)}",
                draft.once,
                draft.event_type,
                json.dumps(draft.content, ensure_ascii=False),
                draft.edits,
                draft.redacts,
                draft.upload,
                draft.state_key,
            ),
        ).fetchone()
        if written is None:
            written = c.execute("SELECT id FROM outbox WHERE once = ?", (draft.once,)).fetchone()
        rows.append(int(written[0]))
    return rows
