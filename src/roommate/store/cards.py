"""Cards: questions that wait for a person's reaction, over restarts, until they expire."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import Deed, Draft, EventId, Message, Question, RoomId, UserId
from roommate.store import audit, card_choice_reactions, outbox
from roommate.store.codec import MESSAGE, encode, tag
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
    text: str = ""
    """Markdown of what is asked; empty where an earlier release has asked it, and does not know any more."""
    details: tuple[str, str] | None = None
    quiet: bool = False
    asker: UserId | None = None
    turn: int | None = None
    """The turn that wants to know."""
    takes_text: bool = False

    @property
    def expired(self) -> bool:
        return self.expires < time.time()


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody's choice, or the text of their answer."""

    choice: str
    by: UserId


@dataclass(frozen=True, slots=True)
class Decided:
    """A card that somebody has decided; `seq` is the row of the inbox that did, if any."""

    card: Card
    choice: str
    by: UserId
    seq: int | None


_COLUMNS = (
    "cards.id, cards.room_id, outbox_id, what, subject, choices, operators_only, thread, expires, shown, asker, "
    "turn_id, takes_text"
)


class Cards:
    def __init__(self, database: Database) -> None:
        self._db = database

    @staticmethod
    def putting(
        question: Question,
        draft: Draft,
        seq: int | None = None,
        thread: EventId | None = None,
        *,
        told: Sequence[Draft] = (),
        deeds: Sequence[Deed] = (),
        along: Work[object] | None = None,
        instead: Callable[[EventId | None], Draft] | None = None,
    ) -> Work[int]:
        """Put up a card and give its id; the one that is open on the same subject instead, where there is one.

        With `seq` it answers that inbox row, in its thread; `instead` says there that it is asked already, given the
        event that shows it. Who else is `told` of it, the `deeds` that it is, and what is done `along` with it are in
        the same transaction.
        """

        def work(c: sqlite3.Connection) -> int:
            if along is not None:
                along(c)
            if seq is not None:
                take(c, seq)
            same = c.execute(
                """SELECT cards.id, event_id FROM cards JOIN outbox ON outbox_id = outbox.id
                   WHERE cards.room_id=? AND what=? AND subject=? AND verdict IS NULL AND expires>?""",
                (draft.room_id, question.what, question.subject, time.time()),
            ).fetchone()
            if same:
                if seq is not None and instead is not None:
                    outbox.insert(c, answering(c, seq, [instead(same[1])]))
                return int(same[0])
            [row] = outbox.insert(c, [draft] if seq is None else answering(c, seq, [draft]))
            outbox.insert(c, told)
            audit.insert(c, deeds)
            card = c.execute(
                """INSERT INTO cards (room_id, outbox_id, what, subject, choices, operators_only, thread, expires,
                                      shown, asker, turn_id, takes_text, waits)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    draft.room_id,
                    row,
                    question.what,
                    question.subject,
                    " ".join(question.choices).replace("\ufe0f", ""),
                    question.operators_only,
                    thread,
                    time.time() + question.seconds,
                    json.dumps({"text": question.text, "details": question.details, "quiet": question.quiet}),
                    question.asker or "",
                    question.turn,
                    question.takes_text,
                    question.waits,
                ),
            ).lastrowid
            assert card is not None
            return card

        return work

    async def put(self, *given: Any, **more: Any) -> int:
        """Do it, see `putting`."""
        return await self._db.run(self.putting(*given, **more))

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

    async def open_before(self, room_id: RoomId, thread: EventId | None, seq: int) -> Sequence[Card]:
        """Those that stood open in a conversation when this row of the inbox was said, and still do, oldest first."""
        query = f"""SELECT {_COLUMNS} FROM cards
                    WHERE room_id=? AND thread IS ? AND verdict IS NULL AND expires>? AND behind<?"""  # noqa: S608
        return [_card(row) for row in sorted(await self._db.rows(query, room_id, thread, time.time(), seq))]

    async def was_said_last(self, card: Card, seq: int) -> bool:
        """Has nobody said anything between the card and this row of the inbox, in its conversation?"""
        query = """SELECT NOT EXISTS (SELECT 1 FROM inbox, cards
                     WHERE cards.id=? AND inbox.room_id=cards.room_id AND inbox.thread=coalesce(cards.thread, '')
                       AND kind=? AND seq > behind AND seq < ?)"""
        return bool((await self._db.row(query, card.id, MESSAGE, seq))[0])

    async def of(self, card: int) -> Card | None:
        """The one of this number, however it stands."""
        row = await self._db.row(f"SELECT {_COLUMNS} FROM cards WHERE id=?", card)  # noqa: S608
        return _card(row) if row else None

    async def unanswered(self, room_id: RoomId, turn: int, what: Collection[str]) -> Sequence[Card]:
        """The open questions of these kinds that a turn wanted to know of."""
        query = f"SELECT {_COLUMNS} FROM cards WHERE room_id=? AND verdict IS NULL AND expires>? AND turn_id=?"  # noqa: S608
        rows = await self._db.rows(query, room_id, time.time(), turn)
        return [card for card in map(_card, sorted(rows)) if card.what in what]

    async def standing(self, room_id: RoomId, what: str) -> int:
        """How many of a room's questions of this kind wait for an answer."""
        query = "SELECT count(*) FROM cards WHERE room_id=? AND what=? AND verdict IS NULL AND expires>?"
        return await self._db.look(lambda c: int(c.execute(query, (room_id, what, time.time())).fetchone()[0]))

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

    async def carried_out(self, decided: Decided, said: Sequence[Draft]) -> None:
        """It is done, and this is what to say of it."""

        def work(c: sqlite3.Connection) -> None:
            settled = c.execute("UPDATE cards SET pending=0 WHERE id=? AND pending", (decided.card.id,)).rowcount
            outbox.insert(c, card_choice_reactions.take_off(c, decided.card.id))
            _say(c, decided, settled, said)

        await self._db.run(work)

    async def failed(self, decided: Decided, said: Draft, deed: Deed) -> None:
        """It could not be done: the card is open again."""
        opening = "UPDATE cards SET pending=0, verdict=NULL, decided_by=NULL WHERE id=? AND pending"

        def work(c: sqlite3.Connection) -> None:
            if opened := c.execute(opening, (decided.card.id,)).rowcount:
                audit.insert(c, [deed])
            _say(c, decided, opened, [said])

        await self._db.run(work)

    async def due(self) -> tuple[Sequence[Card], float | None]:
        """Those whose time is over and nobody has decided; and when the next one's is, if there is any."""

        def work(c: sqlite3.Connection) -> tuple[Sequence[Card], float | None]:
            now = time.time()
            query = f"SELECT {_COLUMNS} FROM cards WHERE verdict IS NULL AND expires <= ? LIMIT 100"  # noqa: S608
            rows = c.execute(query, (now,)).fetchall()
            nearest = "SELECT expires FROM cards WHERE verdict IS NULL AND expires > ? ORDER BY expires LIMIT 1"
            first = c.execute(nearest, (now,)).fetchone()
            return [_card(row) for row in sorted(rows)], (now if len(rows) == 100 else first[0] if first else None)

        return await self._db.run(work)

    async def close(self, card: Card, verdict: str, shown: Draft | None) -> bool:
        """End it without an answer, and show that; False when somebody was faster."""

        def work(c: sqlite3.Connection) -> bool:
            closing = "UPDATE cards SET verdict=?, decided_by='' WHERE id=? AND verdict IS NULL"
            if not c.execute(closing, (verdict, card.id)).rowcount:
                return False
            outbox.insert(c, [*card_choice_reactions.take_off(c, card.id), *([shown] if shown else [])])
            return True

        return await self._db.run(work)

    async def asked(self, room_id: RoomId, what: str, subject: str) -> int | None:
        """The newest on this subject, however it stands."""
        query = "SELECT max(id) FROM cards WHERE room_id=? AND what=? AND subject=?"
        return (await self._db.row(query, room_id, what, subject))[0]  # type: ignore[no-any-return]

    async def answer(self, card: int) -> Answer | None:
        """What was answered to it, if anything."""
        return await self._db.look(lambda c: _answer(c, card))

    async def is_waited_for(self, card: int) -> bool:
        """Does its turn wait for the answer?"""
        return bool((await self._db.row("SELECT waits FROM cards WHERE id=?", card))[0])

    async def give_up(self, card: int) -> Answer | None:
        """Its turn waits no longer; gives what was answered until now."""

        def work(c: sqlite3.Connection) -> Answer | None:
            c.execute("UPDATE cards SET waits=0 WHERE id=? AND verdict IS NULL", (card,))
            return _answer(c, card)

        return await self._db.run(work)

    async def prompt(
        self, decided: Decided, deed: Deed, message: Message | None, shown: Draft | None, *, line: bool
    ) -> bool:
        """Close a card whose answer is a prompt: the row that brought it becomes this `message` of its sender, a `line`
        for a turn that runs or one that waits for its own; none where there is nothing to be said, or the turn that
        asked waits for the answer. False when it was closed before.
        """

        def work(c: sqlite3.Connection) -> bool:
            closing = "UPDATE cards SET verdict=?, decided_by=? WHERE id=? AND verdict IS NULL"
            if not c.execute(closing, (decided.choice, decided.by, decided.card.id)).rowcount:
                return False
            [waits, turn] = c.execute("SELECT waits, turn_id FROM cards WHERE id=?", (decided.card.id,)).fetchone()
            if waits or message is None:
                assert decided.seq is not None
                take(c, decided.seq)
                c.execute("UPDATE inbox SET turn_id=? WHERE seq=?", (turn if waits else None, decided.seq))
            else:
                row = (tag(message), encode(message), "new" if message.text.startswith("!") else "queued")
                c.execute(
                    "UPDATE inbox SET kind=?, body=?, state=?, line=? WHERE seq=? AND state!='done'",
                    (*row, message.text if line else None, decided.seq),
                )
            outbox.insert(c, [*card_choice_reactions.take_off(c, decided.card.id), *([shown] if shown else [])])
            audit.insert(c, [deed])
            return True

        return await self._db.run(work)


def _answer(c: sqlite3.Connection, card: int) -> Answer | None:
    verdict, by = c.execute("SELECT verdict, decided_by FROM cards WHERE id=?", (card,)).fetchone()
    return None if verdict is None else Answer(verdict, UserId(by or ""))


def _say(c: sqlite3.Connection, decided: Decided, now: int, said: Sequence[Draft]) -> None:
    """What came of a decision, if that is so only `now`."""
    drafts = said if now else []
    outbox.insert(c, drafts if decided.seq is None else answering(c, decided.seq, drafts))


def _card(row: Any) -> Card:
    card, room_id, message, what, subject, choices, operators_only, thread, expires, shown, asker, turn, takes = row
    about = json.loads(shown)
    summary = about.get("details")
    return Card(
        card,
        room_id,
        message,
        what,
        subject,
        tuple(filter(None, choices.split(" "))),
        bool(operators_only),
        thread,
        expires,
        text=about.get("text", ""),
        details=(summary[0], summary[1]) if summary else None,
        quiet=about.get("quiet", False),
        asker=UserId(asker) if asker else None,
        turn=turn,
        takes_text=bool(takes),
    )
