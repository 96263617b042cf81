"""Cards: questions that wait for a person's reaction, over restarts, until they expire."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.store import audit, outbox
from roommate.store.database import Database
from roommate.store.inbox import answering
from roommate.store.taking import take
from roommate.words import Deed, Draft, EventId, Question, RoomId


@dataclass(frozen=True, slots=True)
class Card:
    id: int
    room_id: RoomId
    message: int
    """Outbox id of the message that shows it."""
    what: str
    subject: str
    choices: tuple[str, ...]
    operators_only: bool
    thread: EventId | None
    expires: float
    """Seconds since 1970."""

    @property
    def expired(self) -> bool:
        return self.expires < time.time()


_COLUMNS = "cards.id, cards.room_id, outbox_id, what, subject, choices, operators_only, thread, expires"


class Cards:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def put(self, question: Question, draft: Draft, seq: int | None = None, thread: EventId | None = None) -> int:
        """Put up a card and give its id; the one that is open on the same subject instead, where there is one.

        With `seq` it answers that inbox row, in its thread.
        """

        def work(c: sqlite3.Connection) -> int:
            if seq is not None:
                take(c, seq)
            same = c.execute(
                """SELECT id FROM cards WHERE room_id=? AND what=? AND subject=? AND verdict IS NULL AND expires>?""",
                (draft.room_id, question.what, question.subject, time.time()),
            ).fetchone()
            if same and seq is None:
                return int(same[0])
            [row] = outbox.insert(c, [draft] if seq is None else answering(c, seq, [draft]))
            card = c.execute(
                """INSERT INTO cards (room_id, outbox_id, what, subject, choices, operators_only, thread, expires)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    draft.room_id,
                    row,
                    question.what,
                    question.subject,
                    " ".join(question.choices).replace("\ufe0f", ""),
                    question.operators_only,
                    thread,
                    time.time() + question.seconds,
                ),
            ).lastrowid
            assert card is not None
            return card

        return await self._db.run(work)

    async def open(self, room_id: RoomId, event_id: EventId) -> Card | None:
        """The undecided card that this event shows."""

        def work(c: sqlite3.Connection) -> Card | None:
            row = c.execute(
                f"""SELECT {_COLUMNS} FROM cards JOIN outbox ON outbox_id = outbox.id
                    WHERE outbox.event_id = ? AND cards.room_id = ? AND verdict IS NULL""",  # noqa: S608
                (event_id, room_id),
            ).fetchone()
            return _card(row) if row else None

        return await self._db.run(work)

    async def undecided(self) -> Sequence[Card]:
        """Of all rooms, oldest first, those that have not expired."""
        rows = await self._db.run(
            lambda c: c.execute(
                f"SELECT {_COLUMNS} FROM cards WHERE verdict IS NULL AND expires > ?",  # noqa: S608
                (time.time(),),
            ).fetchall()
        )
        # Sorted here: asked for an order by id, SQLite would look through all cards there ever were.
        return [_card(row) for row in sorted(rows)]

    async def decide(self, card: Card, seq: int | None, verdict: str, draft: Draft | None, deed: Deed) -> bool:
        """Close a card, with what an inbox row says if any, and say `draft`; False when it was closed before."""

        def work(c: sqlite3.Connection) -> bool:
            if seq is not None and not take(c, seq):
                return False
            closed = c.execute(
                "UPDATE cards SET verdict=?, decided_by=? WHERE id=? AND verdict IS NULL", (verdict, deed.who, card.id)
            ).rowcount
            if closed:
                said = [draft] if draft else []
                outbox.insert(c, said if seq is None else answering(c, seq, said))
                audit.insert(c, [deed])
            return bool(closed)

        return await self._db.run(work)


def _card(row: tuple[int, RoomId, int, str, str, str, int, EventId | None, float]) -> Card:
    card, room_id, message, what, subject, choices, operators_only, thread, expires = row
    known = tuple(choices.split(" "))
    return Card(card, room_id, message, what, subject, known, bool(operators_only), thread, expires)
