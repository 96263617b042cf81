"""Pauses: rooms, or all of them, in which no turn begins until somebody says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import RoomId
from roommate.store.database import Database, Work


@dataclass(frozen=True, slots=True)
class Pause:
    room_id: RoomId | None
    """None: every room."""
    by: str
    since: float
    """Seconds since 1970."""


class Pauses:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> Sequence[Pause]:
        rows = await self._db.rows("SELECT room_id, by, since FROM pauses")
        return [Pause(RoomId(room) if room else None, by, since) for room, by, since in rows]


def pausing(room_id: RoomId | None, by: str) -> Work[object]:
    """From now on no turn begins in the room, or in all (None). A pause that stands already stays."""
    query = "INSERT INTO pauses (room_id, by, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return lambda c: c.execute(query, (room_id or "", by, time.time()))


def resuming(room_id: RoomId | None) -> Work[bool]:
    """Take a pause back; False when there was none. A file, or the pause of all, may hold the room still."""
    return lambda c: c.execute("DELETE FROM pauses WHERE room_id=?", (room_id or "",)).rowcount > 0
