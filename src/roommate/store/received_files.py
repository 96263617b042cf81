"""Files that people sent: each is a row before it is fetched, and the model is told of it when it is there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from roommate.domain import Draft, EventId, Message, RoomId, SentFile, UserId
from roommate.store import outbox
from roommate.store.codec import MESSAGE, decode, encode
from roommate.store.database import Database, Work
from roommate.store.inbox_claim import take


class FileState(StrEnum):
    """Rows hold these names."""

    COMING = "coming"
    PLACED = "placed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """`seq` is the row of the inbox that waits for it: its own, or that of a reply to it. `path` is in the workspace,
    once it is placed; `picture` is what a model that sees is shown of it, the file itself or a smaller one."""

    id: int
    event_id: EventId
    room_id: RoomId
    thread: EventId | None
    sender: UserId
    seq: int
    sent: SentFile
    state: FileState
    path: str = ""
    size: int = 0
    picture: str = ""


_COLUMNS = "id, event_id, room_id, thread, sender, seq, sent, state, path, size, picture"


class ReceivedFiles:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def expect(
        self, seq: int, room_id: RoomId, thread: EventId | None, files: Mapping[EventId, tuple[UserId, SentFile]]
    ) -> bool:
        """See that these are placed before the message of this row goes on; False when they are all there already.

        What has failed before is tried again.
        """

        def work(c: sqlite3.Connection) -> bool:
            waits = False
            for event, (sender, sent) in files.items():
                known = _row(c, room_id, event)
                if known is None:
                    c.execute(
                        """INSERT INTO received_files (event_id, room_id, thread, sender, seq, sent)
                           VALUES (?, ?, ?, ?, ?, ?)""",
                        (event, room_id, thread or "", sender, seq, json.dumps(asdict(sent), ensure_ascii=False)),
                    )
                elif known.state is not FileState.PLACED:
                    c.execute("UPDATE received_files SET state = 'coming', seq = ? WHERE id = ?", (seq, known.id))
                waits = waits or known is None or known.state is not FileState.PLACED
            if waits:
                c.execute("UPDATE inbox SET state = 'held' WHERE seq = ? AND state != 'done'", (seq,))
            return waits

        return await self._db.run(work)

    async def coming(self, room_id: RoomId) -> Sequence[ReceivedFile]:
        """Those that somebody waits for, the oldest first."""

        def work(c: sqlite3.Connection) -> Sequence[ReceivedFile]:
            rows = c.execute(
                f"""SELECT {_COLUMNS} FROM received_files WHERE room_id = ? AND state = 'coming'
                    AND seq IN (SELECT seq FROM inbox WHERE state = 'held') ORDER BY id""",  # noqa: S608 — ours
                (room_id,),
            )
            return [_file(*row) for row in rows]

        return await self._db.run(work)

    async def of(self, room_id: RoomId, event: EventId) -> ReceivedFile | None:
        return await self._db.look(lambda c: _row(c, room_id, event))

    async def placed(
        self, file: ReceivedFile, path: str, size: int, picture: str, *, sign: Draft, heard: str, said: Sequence[Draft]
    ) -> bool:
        """It lies there. The message that waited goes on; one that says nothing, nor is `heard` to, is dealt with, and
        gets the `sign`. `said` is what people are told of it. False when nobody waits any more: the message was dropped
        or redacted."""

        def work(c: sqlite3.Connection) -> bool:
            c.execute(
                "UPDATE received_files SET state = 'placed', path = ?, size = ?, picture = ? WHERE id = ?",
                (path, size, picture, file.id),
            )
            row = c.execute("SELECT event_id, kind, body FROM inbox WHERE seq = ? AND state = 'held'", (file.seq,))
            if (found := row.fetchone()) is None:
                return False
            event, kind, body = found
            message: Message = decode(kind, body)
            if event != file.event_id or message.text.strip() or heard:
                if heard:
                    spoken = Message(heard, message.thread, message.reply_to, message.mentions, message.file)
                    c.execute("UPDATE inbox SET body = ? WHERE seq = ?", (encode(spoken), file.seq))
                c.execute("UPDATE inbox SET state = 'new' WHERE seq = ?", (file.seq,))
            else:
                take(c, file.seq)
                outbox.insert(c, [sign])
            outbox.insert(c, said)
            return True

        return await self._db.run(work)

    async def failed(self, file: ReceivedFile, drafts: Sequence[Draft]) -> None:
        """It could not be had: people are told, and its message is dealt with."""

        def work(c: sqlite3.Connection) -> None:
            c.execute("UPDATE received_files SET state = 'failed' WHERE id = ?", (file.id,))
            if take(c, file.seq):
                outbox.insert(c, drafts)

        await self._db.run(work)


def retrying(event: EventId, room_id: RoomId) -> Work[bool]:
    """Fetch once more what has failed, and go on with its message then; False where there is nothing of that."""

    def work(c: sqlite3.Connection) -> bool:
        if (file := _row(c, room_id, event)) is None or file.state != FileState.FAILED:
            return False
        query = f"UPDATE inbox SET state = 'new' WHERE seq = ? AND state = 'done' AND kind = '{MESSAGE}'"  # noqa: S608
        return c.execute(query, (file.seq,)).rowcount > 0

    return work


def has_failed(c: sqlite3.Connection, room_id: RoomId, event: EventId) -> bool:
    file = _row(c, room_id, event)
    return file is not None and file.state is FileState.FAILED


def claiming(
    room_id: RoomId, thread: EventId | None, before: int, turn_id: int, meant: Sequence[EventId], again: EventId | None
) -> Callable[[sqlite3.Connection], Sequence[ReceivedFile]]:
    """The files that a turn is told of: those of the conversation that no turn was told of and that came `before` this
    row of the inbox (of the main timeline, where the message itself begins the thread); those that are `meant`; and
    those of the turn that is run `again`, by its prompt's event."""

    def work(c: sqlite3.Connection) -> Sequence[ReceivedFile]:
        events = json.dumps(list(meant))
        rows = c.execute(
            f"""WITH meant (event) AS (SELECT value FROM json_each(?4))
                SELECT {_COLUMNS} FROM received_files WHERE room_id = ?1 AND state = 'placed' AND (
                  event_id IN meant
                  OR (turn_id IS NULL AND seq <= ?3 AND (thread = ?2 OR (thread = '' AND ?2 IN meant)))
                  OR turn_id IN (SELECT id FROM turns WHERE room_id = ?1 AND event_id = ?5)
                ) ORDER BY id""",  # noqa: S608 — ours
            (room_id, thread or "", before, events, again),
        ).fetchall()
        found = [_file(*row) for row in rows]
        c.executemany("UPDATE received_files SET turn_id = ? WHERE id = ?", [(turn_id, one.id) for one in found])
        return found

    return work


def claiming_beside(
    room_id: RoomId, thread: EventId | None, turn_id: int, lines: Sequence[int]
) -> Callable[[sqlite3.Connection], Sequence[ReceivedFile]]:
    """The files that came into a conversation while this turn of it runs, and that no turn was told of: those that came
    without a word, and those of these `lines`, by their rows of the inbox. What waits with words of its own keeps its
    file for its own turn."""

    def work(c: sqlite3.Connection) -> Sequence[ReceivedFile]:
        rows = c.execute(
            f"""SELECT {_COLUMNS} FROM received_files
                WHERE room_id = ?1 AND thread = ?2 AND state = 'placed' AND turn_id IS NULL
                  AND (seq IN (SELECT value FROM json_each(?3))
                       OR seq NOT IN (SELECT seq FROM inbox WHERE room_id = ?1 AND state != 'done'))
                ORDER BY id""",  # noqa: S608 — ours
            (room_id, thread or "", json.dumps(lines)),
        ).fetchall()
        found = [_file(*row) for row in rows]
        c.executemany("UPDATE received_files SET turn_id = ? WHERE id = ?", [(turn_id, one.id) for one in found])
        return found

    return work


def _row(c: sqlite3.Connection, room_id: RoomId, event: EventId) -> ReceivedFile | None:
    query = f"SELECT {_COLUMNS} FROM received_files WHERE room_id = ? AND event_id = ?"  # noqa: S608 — ours
    row = c.execute(query, (room_id, event)).fetchone()
    return _file(*row) if row else None


def _file(
    number: int,
    event: str,
    room: str,
    thread: str,
    sender: str,
    seq: int,
    sent: str,
    state: str,
    path: str,
    size: int,
    picture: str,
) -> ReceivedFile:
    return ReceivedFile(
        number,
        EventId(event),
        RoomId(room),
        EventId(thread) if thread else None,
        UserId(sender),
        seq,
        SentFile(**json.loads(sent)),
        FileState(state),
        path,
        size,
        picture,
    )
