"""What is known of each room: membership, members, its own settings."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import EventId, RoomId
from roommate.errors import NotFound
from roommate.store.database import Database, Work


@dataclass(frozen=True, slots=True)
class RoomRow:
    room_id: RoomId
    membership: str
    joined: int
    """Members, the bot included; 0 where that is not known."""
    encrypted: bool
    model: str | None
    """Chosen with ``!model``; None is the daemon's."""
    prompt: str | None = None
    """What operators tell the model here."""
    threads: bool = False
    """Each task begins a thread."""
    name: str | None = None
    replaced: str | None = None
    """How far its replacement is followed (`upgrades.State`), None when it was not replaced."""
    replaces: bool = False
    """It replaces another room, and that is being followed."""

    @property
    def crowded(self) -> bool:
        """There may be others than one person and the bot."""
        return not 0 < self.joined <= 2

    @property
    def moving(self) -> bool:
        """What another room owns is about to come here, or what this one owns to go: no turn begins meanwhile."""
        return self.replaces or self.replaced == "open"


_COLUMNS = """room_id, membership, joined, encrypted, model, prompt, threads, name,
  (SELECT state FROM upgrades WHERE old = room_id),
  EXISTS (SELECT 1 FROM upgrades WHERE new = room_id AND state = 'open' AND NOT EXISTS (
    WITH RECURSIVE ahead (room) AS (
      SELECT rooms.room_id UNION SELECT new FROM upgrades JOIN ahead ON old = room WHERE state = 'open'
    )
    SELECT 1 FROM ahead WHERE room = upgrades.old
      AND rooms.room_id = (SELECT old FROM upgrades WHERE old IN ahead AND state = 'open' ORDER BY tombstone LIMIT 1)
  ))"""
"""Of rooms that say of each other in a circle that they are replaced, one has to be looked at first: it does not wait
for the one before it."""


class Rooms:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def has_turns(self, room_id: RoomId, thread: EventId) -> bool:
        """Was there ever a turn in this thread?"""
        query = "SELECT 1 FROM conversations WHERE room_id=? AND thread=?"
        return await self._db.row(query, room_id, thread) is not None

    async def get(self, room_id: RoomId) -> RoomRow:
        """The room's row; one that no sync has spoken of yet counts as left."""

        def work(c: sqlite3.Connection) -> RoomRow:
            row = c.execute(f"SELECT {_COLUMNS} FROM rooms WHERE room_id=?", (room_id,)).fetchone()  # noqa: S608
            return _row(row or (room_id, "leave", 0, 0, None, None, 0, None, None, 0))

        return await self._db.run(work)

    async def all(self) -> Sequence[RoomRow]:
        """Those that the bot is in, in the order in which it came to know them."""
        query = f"SELECT {_COLUMNS} FROM rooms WHERE membership='join' ORDER BY rowid"  # noqa: S608
        rows = await self._db.rows(query)
        return [_row(row) for row in rows]

    async def find(self, named: str) -> RoomRow:
        """The room that the bot is in of this id, of an id that begins so, or of this name. Raises NotFound."""
        known = await self.all()
        begins = named.removeprefix("!")
        for found in (
            [row for row in known if row.room_id == named],
            [row for row in known if row.name == named],
            [row for row in known if row.room_id.removeprefix("!").startswith(begins)],
        ):
            if len(found) > 1:
                raise NotFound(f"{len(found)} rooms are meant by {named!r}: write more of its id")
            if found:
                return found[0]
        raise NotFound(f"the bot is in no room {named!r}: `roommate rooms ls` shows those that it is in")

    async def named(self, named: str) -> RoomId:
        """The id of what `find` gives."""
        return (await self.find(named)).room_id

    async def joined(self) -> Sequence[RoomId]:
        rows = await self._db.rows("SELECT room_id FROM rooms WHERE membership='join'")
        return [RoomId(room) for (room,) in rows]


def setting_prompt(room_id: RoomId, prompt: str | None) -> Work[object]:
    return lambda c: c.execute("UPDATE rooms SET prompt=? WHERE room_id=?", (prompt, room_id))


def setting_threads(room_id: RoomId, *, on: bool) -> Work[object]:
    return lambda c: c.execute("UPDATE rooms SET threads=? WHERE room_id=?", (on, room_id))


def setting_model(room_id: RoomId, model: str | None) -> Work[object]:
    return lambda c: c.execute("UPDATE rooms SET model=? WHERE room_id=?", (model, room_id))


def _row(row: Any) -> RoomRow:
    room_id, membership, joined, encrypted, model, prompt, threads, name, replaced, replaces = row
    return RoomRow(
        room_id, membership, joined, bool(encrypted), model, prompt, bool(threads), name, replaced, bool(replaces)
    )
