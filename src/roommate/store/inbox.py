"""The inbox: everything that happened in Matrix, stored before anything is done about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from roommate.domain import (
    ANSWERS,
    Account,
    Answered,
    Deed,
    Draft,
    Edit,
    EventId,
    Incoming,
    MeshEvent,
    OwnMessage,
    Redaction,
    RoomId,
    SyncBatch,
    Tombstone,
    UserId,
)
from roommate.store import (
    audit,
    catch_up_after_restore,
    mesh_events,
    outbox,
    own_messages,
    reactions_from_people,
    room_upgrades,
)
from roommate.store.codec import MESSAGE, decode, encode, tag
from roommate.store.database import Database, Work
from roommate.store.inbox_claim import take
from roommate.store.seen_events import is_known

T = TypeVar("T")

FEW = 20
"""Events of a sync that are stored on the event loop: in 2 ms."""
LOGIN = tuple(field.name for field in fields(Account))
"""Columns of the table ``sync``."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that nobody has dealt with; ``queued`` when it waits for its turn."""

    seq: int
    incoming: Incoming
    queued: bool
    line: str | None = None
    """Of a line (see `store.lines`): what it says to the conversation."""


class Inbox:
    """Implements `SyncStore`, and gives rooms their work in order."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def account(self) -> Account | None:
        """The login that is kept, None before the first."""

        return await self._db.run(self.login)

    @staticmethod
    def login(c: sqlite3.Connection) -> Account | None:
        row = c.execute(f"SELECT {', '.join(LOGIN)} FROM sync").fetchone()  # noqa: S608 — names of ours
        found = {name: value for name, value in zip(LOGIN, row, strict=True) if value is not None}
        return Account(**found) if "access_token" in found else None

    async def keep_account(self, account: Account | None) -> None:
        """Keep a login; None forgets it."""
        row = asdict(account) if account else dict.fromkeys(LOGIN)
        await self._db.run(
            lambda c: c.execute(f"UPDATE sync SET {', '.join(f'{name} = :{name}' for name in LOGIN)}", row)  # noqa: S608
        )

    async def since(self) -> str | None:
        return await self._db.look(lambda c: c.execute("SELECT since FROM sync").fetchone()[0])

    async def joined_rooms(self) -> Mapping[RoomId, int]:
        query = "SELECT room_id, joined FROM rooms WHERE membership='join'"
        return await self._db.look(lambda c: dict(c.execute(query).fetchall()))

    async def commit(self, batch: SyncBatch) -> None:
        def work(c: sqlite3.Connection) -> None:
            for room in batch.rooms:
                c.execute(
                    """INSERT INTO rooms (room_id, membership, joined, encrypted, name)
                       VALUES (:id, :membership, coalesce(:joined, 0), coalesce(:encrypted, 0), :name)
                       ON CONFLICT (room_id) DO UPDATE SET membership = :membership,
                         joined = coalesce(:joined, iif(membership = :membership, joined, 0)),
                         encrypted = coalesce(:encrypted, encrypted), name = coalesce(:name, name)""",
                    {
                        "id": room.room_id,
                        "membership": room.membership,
                        "joined": room.joined,
                        "encrypted": room.encrypted,
                        "name": room.name,
                    },
                )
            for incoming in batch.happened:
                _put(c, incoming)
            c.execute("UPDATE sync SET since = ?", (batch.next_batch,))

        # What is done about an event begins with a transaction of its own, which brings this one to the disk. That of a
        # room may begin with a request to the homeserver.
        if batch.comes_again and not batch.rooms:
            await self._db.run_unforced(work, few=len(batch.happened) <= FEW)
        else:
            await self._db.run(work)

    async def replaces(self, room_id: RoomId) -> bool:
        # Who has to invite the bot first may do so much later: then that is the beginning.
        query = "SELECT 1 FROM upgrades WHERE new=? AND state IN ('open', 'moved')"
        return await self._db.look(lambda c: c.execute(query, (room_id,)).fetchone() is not None)

    async def rooms_with_work(self) -> Sequence[RoomId]:
        """Rooms that have something waiting, what a crash left unfinished, or nobody but the bot in them."""
        rows = await self._db.rows("""SELECT room_id FROM inbox WHERE state != 'done' UNION
                   SELECT room_id FROM turns WHERE stop IS NULL UNION
                   SELECT room_id FROM ipc WHERE state = 'new' UNION
                   SELECT room_id FROM cards WHERE pending UNION
                   SELECT old FROM upgrades JOIN rooms ON room_id = old
                   WHERE state = 'moved' AND membership = 'join' UNION
                   SELECT room_id FROM rooms WHERE membership = 'join' AND joined = 1""")
        return [RoomId(room) for (room,) in rows]

    async def waiting(self, room_id: RoomId, *, queued: bool = True, most: int = 1 << 62) -> Sequence[Waiting]:
        """What a room has to deal with, in order: with what is `queued` or without, the `most` oldest of it."""

        def work(c: sqlite3.Connection) -> Sequence[Waiting]:
            rows = c.execute(
                f"""SELECT {_COLUMNS} FROM inbox
                    WHERE room_id = ? AND state != 'done' {"" if queued else "AND state = 'new'"}
                    ORDER BY seq LIMIT ?""",  # noqa: S608 — one of two texts of ours
                (room_id, most),
            )
            return [_waiting(*row) for row in rows]

        return await self._db.run(work)

    async def queued_in(self, room_id: RoomId) -> Mapping[EventId | None, bool]:
        """The threads of a room where messages wait for their turn, None for its main timeline; the one with the oldest
        first. Of each, whether there are lines among them."""
        query = """SELECT thread, max(line IS NOT NULL) FROM inbox
                   WHERE room_id=? AND state='queued' GROUP BY thread ORDER BY min(seq)"""
        rows = await self._db.rows(query, room_id)
        return {EventId(thread) if thread else None: bool(lines) for thread, lines in rows}

    async def first(self, room_id: RoomId, thread: EventId | None) -> Waiting | None:
        """What is next there: a line that the turn before it has left, else the message that has waited longest. None
        when there is none any more."""

        def work(c: sqlite3.Connection) -> Waiting | None:
            lines = f"""SELECT {_COLUMNS} FROM inbox
                        WHERE room_id=? AND thread=? AND state='queued' AND line IS NOT NULL
                        ORDER BY seq LIMIT 1"""  # noqa: S608 — a text of ours
            query = f"""SELECT {_COLUMNS} FROM inbox WHERE room_id=? AND thread=? AND state='queued'
                        ORDER BY seq LIMIT 1"""  # noqa: S608
            where = (room_id, thread or "")
            row = c.execute(lines, where).fetchone() or c.execute(query, where).fetchone()
            return _waiting(*row) if row else None

        return await self._db.look(work)

    async def behind(self, waiting: Waiting, most: int) -> Sequence[Waiting]:
        """The next that wait behind a message in its conversation."""
        query = f"""SELECT {_COLUMNS} FROM inbox WHERE room_id=?1 AND state='queued' AND line IS NULL AND seq>?2
                      AND thread=(SELECT thread FROM inbox WHERE seq=?2) ORDER BY seq LIMIT ?3"""  # noqa: S608
        rows = await self._db.rows(query, waiting.incoming.room_id, waiting.seq, most)
        return [_waiting(*row) for row in rows]

    async def in_line(self, room_id: RoomId, thread: EventId | None, *, everywhere: bool) -> Sequence[Waiting]:
        """What waits for its turn or its files in a conversation, or in all of a room, the oldest first."""
        query = f"""SELECT {_COLUMNS} FROM inbox WHERE room_id=? AND state != 'done' AND state IN ('queued', 'held')
                      AND (? OR thread=?) ORDER BY seq"""  # noqa: S608 — a text of ours
        return [_waiting(*row) for row in await self._db.rows(query, room_id, everywhere, thread or "")]

    async def held_in(self, room_id: RoomId) -> Mapping[EventId | None, int]:
        """The conversations where a message waits for its files, and the oldest of these rows."""
        query = "SELECT thread, min(seq) FROM inbox WHERE room_id=? AND state='held' GROUP BY thread"
        return {EventId(thread) if thread else None: seq for thread, seq in await self._db.rows(query, room_id)}

    async def do(self, work: Work[T]) -> T:
        return await self._db.run(work)

    async def note(self, work: Work[T]) -> T:
        """What only tells of something."""
        return await self._db.run_unforced(work)

    async def done(self, seq: int, drafts: Sequence[Draft] = (), deeds: Sequence[Deed] = ()) -> bool:
        """A row is dealt with, and this is what to say about it and what was done: see `closing`."""
        return await self._db.run(closing(seq, lambda _: (drafts, deeds)))

    async def queue(self, seq: int, *drafts: Draft) -> None:
        """A message has to wait for its turn: that is shown to people."""

        def work(c: sqlite3.Connection) -> None:
            if c.execute("UPDATE inbox SET state='queued' WHERE seq=? AND state='new'", (seq,)).rowcount:
                outbox.insert(c, drafts)

        await self._db.run(work)

    async def count_queued(self, room_id: RoomId) -> int:
        """How many messages wait for their turn."""
        return await self._db.run(counting_queued(room_id))

    async def queues(self) -> Mapping[RoomId, int]:
        """How many messages wait for their turn, by room."""
        query = "SELECT room_id, count(*) FROM inbox WHERE state='queued' GROUP BY room_id"
        return await self._db.look(lambda c: dict(c.execute(query).fetchall()))


def putting(incoming: Incoming) -> Work[None]:
    """Something that comes from elsewhere than a sync."""
    return lambda c: _put(c, incoming)


def threading(seq: int) -> Work[object]:
    """A message of the main timeline begins a thread."""
    query = "UPDATE inbox SET body=json_set(body, '$.thread', event_id) WHERE seq=? AND state!='done'"
    return lambda c: c.execute(query, (seq,))


def dropping_queued(room_id: RoomId, before: int) -> Work[int]:
    """Forget the messages that wait for their turn, or for their files, and came before this row; gives how many."""

    def work(c: sqlite3.Connection) -> int:
        query = "SELECT seq FROM inbox WHERE room_id=? AND state != 'done' AND state IN ('queued', 'held') AND seq < ?"
        return sum(take(c, seq) for (seq,) in c.execute(query, (room_id, before)).fetchall())

    return work


def counting_queued(room_id: RoomId) -> Work[int]:
    """How many messages wait for their turn, in all conversations of the room."""
    query = "SELECT count(*) FROM inbox WHERE room_id=? AND state='queued'"
    return lambda c: int(c.execute(query, (room_id,)).fetchone()[0])


def counting_queued_in(room_id: RoomId, thread: EventId | None) -> Work[int]:
    """How many do in this conversation."""
    query = "SELECT count(*) FROM inbox WHERE room_id=? AND thread=? AND state='queued'"
    return lambda c: int(c.execute(query, (room_id, thread or "")).fetchone()[0])


def closing(seq: int, deal: Callable[[sqlite3.Connection], tuple[Sequence[Draft], Sequence[Deed]]]) -> Work[bool]:
    """A row is dealt with: by `deal`, which gives what to say about it and what was done. All of it together, so that
    each is once.

    False when the row was dealt with or redacted before: then nothing is done.
    """

    def work(c: sqlite3.Connection) -> bool:
        if not take(c, seq):
            return False
        drafts, deeds = deal(c)
        outbox.insert(c, answering(c, seq, drafts))
        audit.insert(c, deeds)
        return True

    return work


def answering(c: sqlite3.Connection, seq: int, drafts: Sequence[Draft]) -> Sequence[Draft]:
    """Drafts that say which event they answer: that of this row. Without it a restored copy would answer it again."""
    [event] = c.execute("SELECT event_id FROM inbox WHERE seq=?", (seq,)).fetchone()
    return [
        replace(draft, content={**draft.content, ANSWERS: event}) if draft.event_type == "m.room.message" else draft
        for draft in drafts
    ]


_COLUMNS = "seq, event_id, room_id, sender, sent_at, kind, body, state, line"


def _waiting(seq: int, event: str, room: str, sender: str, sent_at: int, *rest: Any) -> Waiting:
    kind, body, state, line = rest
    incoming = Incoming(EventId(event), RoomId(room), UserId(sender), sent_at, decode(kind, body))
    return Waiting(seq, incoming, state == "queued", line)


_IN_ITS_ROOM = """event_id=? AND room_id IN (
    WITH RECURSIVE became (room) AS (
        SELECT ? UNION SELECT new FROM upgrades JOIN became ON old = room WHERE state='moved'
    ) SELECT room FROM became)"""
"""What somebody says of an event in a room is about events of that room, wherever they have moved to since."""


def _put(c: sqlite3.Connection, incoming: Incoming) -> None:
    match incoming.what:
        case Redaction(target):
            # Only moderators can redact another's event, and the homeserver of their room holds that: whoever did it
            # there, it is gone.
            query = f"SELECT seq FROM inbox WHERE {_IN_ITS_ROOM}"  # noqa: S608 — a text of ours
            reactions_from_people.unrated(c, target)
            mesh_events.redact(c, incoming, target)
            if row := c.execute(query, (target, incoming.room_id)).fetchone():
                take(c, row[0])
                room_upgrades.forget(c, incoming.room_id, target)
        case Edit(target, text):
            row = c.execute(
                f"SELECT body, state FROM inbox WHERE {_IN_ITS_ROOM} AND sender=? AND kind='{MESSAGE}'",  # noqa: S608
                (target, incoming.room_id, incoming.sender),
            ).fetchone()
            if row is None or (old := decode(MESSAGE, row[0])).text == text:
                return
            new = encode(replace(old, text=text))
            if row[1] != "done":  # new again, for it may be a command now, which does not wait
                c.execute("UPDATE inbox SET body=?, state='new', line=NULL WHERE event_id=?", (new, target))
            elif c.execute("SELECT 1 FROM turns WHERE event_id=?", (target,)).fetchone():  # it may be run again
                c.execute("UPDATE inbox SET body=? WHERE event_id=?", (new, target))
                _insert(c, incoming)
        case Answered() as own:
            catch_up_after_restore.hear(c, incoming, own)
        case OwnMessage(txn_id, answered):
            own_messages.note(c, incoming.event_id, txn_id)
            if answered:
                catch_up_after_restore.hear(c, incoming, answered)
        case _ if is_known(c, incoming.event_id):
            pass
        case MeshEvent() as event:
            mesh_events.put(c, incoming, event)
        case what:
            if _insert(c, incoming) and isinstance(what, Tombstone):
                room_upgrades.note(c, incoming.room_id, what.new, incoming.event_id, incoming.sender)


def _insert(c: sqlite3.Connection, incoming: Incoming) -> bool:
    """False where it was known."""
    what = incoming.what
    written = c.execute(
        """INSERT OR IGNORE INTO inbox (event_id, room_id, sender, sent_at, kind, body)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (incoming.event_id, incoming.room_id, incoming.sender, incoming.sent_at, tag(what), encode(what)),
    )
    return written.rowcount > 0
