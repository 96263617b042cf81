"""What the bot's own messages, as the homeserver has them, tell a database that is older than they are.

A copy that was put back knows nothing of what was answered after it was made; the rooms do. In the daily life of a
database all of this is known, and nothing is changed.
"""

from __future__ import annotations

import sqlite3
import time

from roommate.domain import ANSWERS, TURN, Answer, Answered, Draft, Incoming, Stop
from roommate.store import card_choice_reactions, outbox
from roommate.store.codec import REACTION, encode, tag
from roommate.store.inbox_claim import take

_KEY = f"""coalesce(json_extract(content, '$."{TURN}".prompt'), json_extract(content, '$."{ANSWERS}"'))"""


def hear(c: sqlite3.Connection, incoming: Incoming, own: Answered) -> None:
    """Pass over what is answered already, in the transaction that stores the rest of the sync."""
    for event in own.also:
        line = c.execute("SELECT seq FROM inbox WHERE event_id=? AND room_id=?", (event, incoming.room_id)).fetchone()
        if line:
            take(c, line[0])
    row = c.execute("SELECT seq, kind, body FROM inbox WHERE event_id=? AND room_id=?", (own.to, incoming.room_id))
    if (found := row.fetchone()) is None:
        if not own.runs and not own.edit:  # its row is forgotten: perhaps there is an answer to it all the same
            _arrived(c, own, incoming)
        return
    seq, kind, body = found
    turn = c.execute("SELECT id, live FROM turns WHERE inbox_seq=? AND stop IS NULL", (seq,)).fetchone()
    if own.runs:
        _adopt(c, seq, turn, incoming)
        return
    if not own.edit:
        _arrived(c, own, incoming)
    if turn:
        answer = Answer(own.text)
        c.execute("INSERT INTO steps (turn_id, kind, body) VALUES (?, ?, ?)", (turn[0], tag(answer), encode(answer)))
        c.execute("UPDATE turns SET stop=?, ended=? WHERE id=?", (own.stop or Stop.DONE, time.time(), turn[0]))
    news = take(c, seq)
    if kind == REACTION or own.edit:  # where we dealt with it ourselves an open card is one that it has not decided
        closed = c.execute(
            """UPDATE cards SET verdict=coalesce(verdict, 'elsewhere'), pending=0
               WHERE (pending OR (verdict IS NULL AND ?)) AND outbox_id IN (
                 SELECT id FROM outbox WHERE event_id IN (?, json_extract(?, '$.target'))) RETURNING id""",
            (news, own.edits, body),
        ).fetchall()
        for (card,) in closed:
            outbox.insert(c, card_choice_reactions.take_off(c, card))


def adopted(seq: int) -> str:
    """The `once` of the row for a live message that shows a turn which this database knows nothing of."""
    return f"live:{seq}"


def _adopt(c: sqlite3.Connection, seq: int, turn: tuple[int, int | None] | None, incoming: Incoming) -> None:
    """A turn was begun that we do not know, and its message is up: when it begins anew, it goes on in that one."""
    begun = c.execute("SELECT 1 FROM turns WHERE inbox_seq=? AND (stop IS NOT NULL OR live IS NOT NULL)", (seq,))
    if begun.fetchone():
        return
    [row] = outbox.insert(c, [Draft(incoming.room_id, {}, once=adopted(seq))])
    c.execute("UPDATE outbox SET state='sent', event_id=? WHERE id=?", (incoming.event_id, row))
    if turn:
        c.execute("UPDATE turns SET live=? WHERE id=?", (row, turn[0]))


def _arrived(c: sqlite3.Connection, own: Answered, incoming: Incoming) -> None:
    """Its row in the outbox need not be sent: homeservers know a transaction id for a day at most."""
    if outbox.is_ours(c, incoming.event_id):
        return
    c.execute(
        f"""UPDATE outbox SET state='sent', event_id=?, content='{{}}', upload=NULL WHERE id = (
              SELECT id FROM outbox WHERE state='unsent' AND edits IS NULL AND upload IS NULL AND room_id=? AND {_KEY}=?
              ORDER BY id LIMIT 1)""",  # noqa: S608 — texts of ours
        (incoming.event_id, incoming.room_id, own.to),
    )
