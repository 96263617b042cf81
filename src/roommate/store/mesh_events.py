"""What other daemons say in rooms, until the mesh has taken it: stored with the sync that brought it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roommate.domain import EventId, Incoming, JsonObject, MeshEvent, RoomId, UserId
from roommate.store.database import Database, Work
from roommate.store.seen_events import remember

MOST_WAITING = 2000
"""Events of a room: what comes while so many wait is passed over, and whoever asked hears nothing."""
MOST_READ = 10
"""Events of a room that are read at a time, on the event loop: in 1.5 ms where each is as large as can be."""
REDACTED = "m.room.redaction"
"""The `type` where a request was removed that was taken before: its content is ``{"redacts": event id}``."""


@dataclass(frozen=True, slots=True)
class MeshArrival:
    """A row: what came, from whom the homeserver says it is, and its place."""

    seq: int
    event_id: EventId
    room_id: RoomId
    sender: UserId
    sent_at: int
    """Ms since 1970, as the homeserver has it."""
    type: str
    content: JsonObject
    state_key: str | None


class MeshEvents:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def by_room(self, most: int = MOST_READ) -> Mapping[RoomId, Sequence[MeshArrival]]:
        """Where any wait, and the first of them, in the order in which they came."""

        def work(c: sqlite3.Connection) -> Mapping[RoomId, Sequence[MeshArrival]]:
            rooms = c.execute("SELECT DISTINCT room_id FROM mesh_events").fetchall()
            return {RoomId(room): _waiting(c, room, most) for (room,) in rooms}

        return await self._db.look(work)

    async def newest(self) -> int:
        """The `seq` of the one that came last of those that wait; 0 where none does."""
        return int((await self._db.row("SELECT coalesce(max(seq), 0) FROM mesh_events"))[0])

    async def waiting(self, room_id: RoomId, most: int = MOST_READ) -> Sequence[MeshArrival]:
        """Those of a room, in the order in which they came."""
        return await self._db.look(lambda c: _waiting(c, room_id, most))

    async def taken(self, arrival: MeshArrival) -> None:
        """Where what came of it has not taken it already."""
        if await self._db.row("SELECT 1 FROM mesh_events WHERE seq=?", arrival.seq):
            await self._db.run(taking(arrival))


def _waiting(c: sqlite3.Connection, room_id: str, most: int) -> Sequence[MeshArrival]:
    rows = c.execute(
        """SELECT seq, event_id, room_id, sender, sent_at, type, content, state_key
           FROM mesh_events WHERE room_id = ? ORDER BY seq LIMIT ?""",
        (room_id, most),
    )
    return [
        MeshArrival(seq, event, room, sender, at, kind, json.loads(content), key)
        for seq, event, room, sender, at, kind, content, key in rows
    ]


def taking(arrival: MeshArrival) -> Work[bool]:
    """It is dealt with; False when it was before, or was removed by who wrote it."""

    def work(c: sqlite3.Connection) -> bool:
        if not c.execute("DELETE FROM mesh_events WHERE seq=?", (arrival.seq,)).rowcount:
            return False
        remember(c, [arrival.event_id], ours=False)
        return True

    return work


def put(c: sqlite3.Connection, incoming: Incoming, event: MeshEvent) -> None:
    [waiting] = c.execute("SELECT count(*) FROM mesh_events WHERE room_id=?", (incoming.room_id,)).fetchone()
    if waiting < MOST_WAITING:
        _insert(c, incoming, event.type, event.content, event.state_key)


def redact(c: sqlite3.Connection, incoming: Incoming, target: EventId) -> None:
    """Whoever may remove an event in a room may take a request back with it, until it has run."""
    if c.execute("DELETE FROM mesh_events WHERE event_id=? AND room_id=?", (target, incoming.room_id)).rowcount:
        remember(c, [target], ours=False)
        return
    open_request = "SELECT 1 FROM mesh_requests WHERE event_id=? AND room_id=? AND state!='done'"
    if c.execute(open_request, (target, incoming.room_id)).fetchone():
        _insert(c, incoming, REDACTED, {"redacts": target}, None)


def _insert(c: sqlite3.Connection, incoming: Incoming, kind: str, content: JsonObject, state_key: str | None) -> None:
    c.execute(
        """INSERT OR IGNORE INTO mesh_events (event_id, room_id, sender, sent_at, type, content, state_key)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (
            incoming.event_id,
            incoming.room_id,
            incoming.sender,
            incoming.sent_at,
            kind,
            json.dumps(content, separators=(",", ":")),
            state_key,
        ),
    )
