"""Lines: what is said to a conversation while a turn of it may run.

The turn takes them in before it asks its model next; what it leaves, since it ended, is the conversation's next prompt.
So a line is a row of the inbox that waits as any other message does, until one transaction makes it a step of the turn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from roommate.domain import Draft, EventId, Incoming, Message, Prompt, RoomId, UserId
from roommate.store import outbox
from roommate.store.codec import encode, tag
from roommate.store.database import Work
from roommate.store.inbox_claim import take
from roommate.store.received_files import ReceivedFile, claiming_beside

Told = Callable[[Prompt, Sequence[ReceivedFile]], Prompt]
"""A prompt that tells of these files, too."""

_NAMED = "$line:"


def named(name: str) -> EventId:
    """What stands for the event of a line that no event said: once for each name."""
    return EventId(_NAMED + name)


def is_event(event_id: EventId) -> bool:
    """Is that an event, which can be replied to?"""
    return not event_id.startswith(_NAMED)


@dataclass(frozen=True, slots=True)
class Line:
    """`event_id` is what said it, see `named` where no event did."""

    event_id: EventId
    prompt: Prompt


def adding(incoming: Incoming) -> Work[bool]:
    """Something else than a message of the room has something to say to a conversation (a peer, a job that has ended, a
    card that was decided): its Message has the text and the thread, its event id (see `named`) makes it once, and its
    sender is who answers for it.

    Whoever calls wakes the room then. False when it was said before.
    """

    def work(c: sqlite3.Connection) -> bool:
        assert isinstance(incoming.what, Message)
        row = (incoming.event_id, incoming.room_id, incoming.sender, incoming.sent_at)
        said = c.execute(
            """INSERT OR IGNORE INTO inbox (event_id, room_id, sender, sent_at, kind, body, line, state)
               VALUES (?, ?, ?, ?, ?, ?, ?, 'queued')""",
            (*row, tag(incoming.what), encode(incoming.what), incoming.what.text),
        )
        return bool(said.rowcount)

    return work


def turning(seq: int, text: str, mark: Draft | None = None) -> Work[None]:
    """A message of the room is a line with this text. People see the `mark` as long as it waits."""

    def work(c: sqlite3.Connection) -> None:
        c.execute("UPDATE inbox SET state='queued', line=? WHERE seq=?", (text, seq))
        if mark is not None:
            outbox.insert(c, [mark])

    return work


def keeping(seq: int, text: str, mark: Draft | None = None, *, said: str) -> Work[bool]:
    """As `turning`, unless it was redacted in the meantime, or says something else by now than what was `said`: then it
    still waits, and it is False."""
    same = "SELECT 1 FROM inbox WHERE seq=? AND state!='done' AND json_extract(body, '$.text') = ?"

    def work(c: sqlite3.Connection) -> bool:
        if not c.execute(same, (seq, said)).fetchone():
            return False
        turning(seq, text, mark)(c)
        return True

    return work


def taking(turn_id: int, room_id: RoomId, thread: EventId | None, told: Told) -> Work[list[Line]]:
    """The lines that wait in a conversation become steps of its turn, in order, `told` of the files that came with
    them; and so do files that came without a word."""

    def work(c: sqlite3.Connection) -> list[Line]:
        rows = c.execute(
            """SELECT seq, event_id, sender, line FROM inbox
               WHERE room_id=? AND thread=? AND state='queued' AND line IS NOT NULL ORDER BY seq""",
            (room_id, thread or ""),
        ).fetchall()
        said = {seq: Line(EventId(event), Prompt(text, UserId(sender))) for seq, event, sender, text in rows}
        for file in claiming_beside(room_id, thread, turn_id, list(said))(c):
            line = said.get(file.seq, Line(file.event_id, Prompt("", file.sender)))
            said[file.seq] = replace(line, prompt=told(line.prompt, [file]))
        spoken = {seq for seq, *_ in rows}
        for seq, line in sorted(said.items()):
            if seq in spoken:
                joining(turn_id, seq, line.prompt)(c)
            else:  # its row was dealt with when the file was there
                _add_step(c, turn_id, line.prompt)
        return [line for _, line in sorted(said.items())]

    return work


def joining(turn_id: int, seq: int, prompt: Prompt) -> Work[None]:
    """A row that waits for its turn becomes a step of this one; nothing comes of one that was changed or redacted."""

    def work(c: sqlite3.Connection) -> None:
        if c.execute("UPDATE inbox SET turn_id=? WHERE seq=? AND state='queued'", (turn_id, seq)).rowcount:
            take(c, seq)
            _add_step(c, turn_id, prompt)

    return work


def _add_step(c: sqlite3.Connection, turn_id: int, prompt: Prompt) -> None:
    c.execute("INSERT INTO steps (turn_id, kind, body) VALUES (?, ?, ?)", (turn_id, tag(prompt), encode(prompt)))


def taken(turn_id: int) -> Work[list[EventId]]:
    """The events whose lines a turn has taken in."""
    query = "SELECT event_id FROM inbox WHERE turn_id=? ORDER BY seq"
    return lambda c: [EventId(event) for (event,) in c.execute(query, (turn_id,))]
