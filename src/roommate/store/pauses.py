"""Pauses: rooms, or all of them, in which no turn begins until somebody says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.store.database import Database
from roommate.words import RoomId


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
        rows = await self._db.run(lambda c: c.execute("SELECT room_id, by, since FROM pauses").fetchall())
        return [Pause(RoomId(room) if room else None, by, since) for room, by, since in rows]

    async def put(self, room_id: RoomId | None, by: str) -> Pause:
        """The one that stands already stays."""
        query = """INSERT INTO pauses (room_id, by, since) VALUES (?, ?, ?)
                   ON CONFLICT DO UPDATE SET room_id = room_id RETURNING by, since"""
        row = await self._db.run(lambda c: c.execute(query, (room_id or "", by, time.time())).fetchone())
        return Pause(room_id, *row)

    async def remove(self, room_id: RoomId | None) -> bool:
        """False when there was none."""
        removed: int = await self._db.run(
            lambda c: c.execute("DELETE FROM pauses WHERE room_id=?", (room_id or "",)).rowcount
        )
        return removed > 0
