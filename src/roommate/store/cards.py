"""Cards: questions that wait for a person's reaction, over restarts, until they expire."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import Deed, Draft, EventId, Question, RoomId, UserId
from roommate.store import audit, offer_card_choices, outbox
from roommate.store.database import Database, Work
from roommate.store.inbox import answering
from roommate.store.inbox_claim import take


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


@dataclass(frozen=True, slots=True)
class Decided:
    """A card that somebody has decided; `seq` is the row of the inbox that did, if any."""

    card: Card
    choice: str
    by: UserId
    seq: int | None


_COLUMNS = "cards.id, cards.room_id, outbox_id, what, subject, choices, operators_only, thread, expires"


class Cards:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def put(
        self,
        question: Question,
        draft: Draft,
        seq: int | None = None,
        thread: EventId | None = None,
        *,
        told: Sequence[Draft] = (),
        deeds: Sequence[Deed] = (),
        along: Work[object] | None = None,
    ) -> int:
        """Put up a card and give its id; the one that is open on the same subject instead, where there is one.

        With `seq` it answers that inbox row, in its thread. Who else is `told` of it, the `deeds` that it is, and what
        is done `along` with it are in the same transaction.
        """

        def work(c: sqlite3.Connection) -> int:
            if along is not None:
                along(c)
            if seq is not None:
                take(c, seq)
            same = c.execute(
                """SELECT id FROM cards WHERE room_id=? AND what=? AND subject=? AND verdict IS NULL AND expires>?""",
                (draft.room_id, question.what, question.subject, time.time()),
            ).fetchone()
            if same and seq is None:
                return int(same[0])
            [row] = outbox.insert(c, [draft] if seq is None else answering(c, seq, [draft]))
            outbox.insert(c, told)
            audit.insert(c, deeds)
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

    async def standing(self, room_id: RoomId, what: str) -> int:
        """How many of a room's questions of this kind wait for an answer."""
        query = "SELECT count(*) FROM cards WHERE room_id=? AND what=? AND verdict IS NULL AND expires>?"
        return await self._db.run(lambda c: int(c.execute(query, (room_id, what, time.time())).fetchone()[0]))

    async def undecided(self) -> Sequence[Card]:
        """Of all rooms, oldest first, those that have not expired."""
        query = f"SELECT {_COLUMNS} FROM cards WHERE verdict IS NULL AND expires > ?"  # noqa: S608
        rows = await self._db.rows(query, time.time())
        # Sorted here: asked for an order by id, SQLite would look through all cards there ever were.
        return [_card(row) for row in sorted(rows)]

    async def decide(self, decided: Decided, deed: Deed) -> bool:
        """Close a card, and deal with the inbox row that did, if any; False when it was closed before.

        What the choice means is to be carried out now, and `carried_out` to be called: a crash before that leaves the
        card among `pending`.
        """

        def work(c: sqlite3.Connection) -> bool:
            if decided.seq is not None and not take(c, decided.seq):
                return False
            query = """UPDATE cards SET verdict=?, decided_by=?, decided_seq=?, pending=1
                       WHERE id=? AND verdict IS NULL"""
            closed = c.execute(query, (decided.choice, decided.by, decided.seq, decided.card.id)).rowcount
            if closed:
                audit.insert(c, [deed])
            return bool(closed)

        return await self._db.run(work)

    async def pending(self, room_id: RoomId) -> Sequence[Decided]:
        """What was decided and not carried out, in order."""
        query = f"""SELECT verdict, decided_by, decided_seq, {_COLUMNS} FROM cards
                    WHERE room_id=? AND pending ORDER BY decided_seq, id"""  # noqa: S608
        rows = await self._db.rows(query, room_id)
        return [Decided(_card(tuple(card)), choice, by, seq) for choice, by, seq, *card in rows]

    async def carried_out(self, decided: Decided, said: Draft | None) -> None:
        """It is done, and this is what to say of it."""

        def work(c: sqlite3.Connection) -> None:
            settled = c.execute("UPDATE cards SET pending=0 WHERE id=? AND pending", (decided.card.id,)).rowcount
            outbox.insert(c, offer_card_choices.take_off(c, decided.card.id))
            _say(c, decided, settled, said)

        await self._db.run(work)

    async def failed(self, decided: Decided, said: Draft, deed: Deed) -> None:
        """It could not be done: the card is open again."""
        opening = "UPDATE cards SET pending=0, verdict=NULL, decided_by=NULL WHERE id=? AND pending"

        def work(c: sqlite3.Connection) -> None:
            if opened := c.execute(opening, (decided.card.id,)).rowcount:
                audit.insert(c, [deed])
            _say(c, decided, opened, said)

        await self._db.run(work)

    async def expire(self, since: float) -> float | None:
        """Take the choices off the cards that have expired and had not `since` (seconds since 1970): the answer of who
        chooses by hand is still that it is too late. Gives when the next one expires, if there is any."""

        def work(c: sqlite3.Connection) -> float | None:
            now = time.time()
            due = "SELECT id FROM cards WHERE expires > ? AND expires <= ? AND verdict IS NULL"
            for (card,) in c.execute(due, (since, now)).fetchall():
                outbox.insert(c, offer_card_choices.take_off(c, card))
            [nearest] = c.execute(
                "SELECT min(expires) FROM cards WHERE expires > ? AND verdict IS NULL", (now,)
            ).fetchone()
            return nearest  # type: ignore[no-any-return]

        return await self._db.run(work)


def _say(c: sqlite3.Connection, decided: Decided, now: int, said: Draft | None) -> None:
    """What came of a decision, if that is so only `now`."""
    drafts = [said] if said and now else []
    outbox.insert(c, drafts if decided.seq is None else answering(c, decided.seq, drafts))


def _card(row: Any) -> Card:
    card, room_id, message, what, subject, choices, operators_only, thread, expires = row
    known = tuple(choices.split(" "))
    return Card(card, room_id, message, what, subject, known, bool(operators_only), thread, expires)
