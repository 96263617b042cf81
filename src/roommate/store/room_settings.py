"""What operators have set for a room alone: names and values, as people write them."""

from __future__ import annotations

from collections.abc import Mapping

from roommate.domain import RoomId
from roommate.store.database import Database, Transaction, Work


class RoomSettings:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def of(self, room_id: RoomId) -> Mapping[str, str]:
        """In the order of their names."""
        query = "SELECT name, value FROM room_settings WHERE room_id=? ORDER BY name"
        return dict(await self._db.rows(query, room_id))


def setting(room_id: RoomId, name: str, value: str) -> Work[bool]:
    """False where it is set so already."""
    query = """INSERT INTO room_settings (room_id, name, value) VALUES (?, ?, ?)
               ON CONFLICT (room_id, name) DO UPDATE SET value = excluded.value WHERE value != excluded.value"""
    return lambda c: c.execute(query, (room_id, name, value)).rowcount > 0


def unsetting(room_id: RoomId, name: str) -> Work[bool]:
    """With a dot at its end all whose names begin so. False where there is nothing to take away."""

    def work(c: Transaction) -> bool:
        query = "DELETE FROM room_settings WHERE room_id=?1 AND (name=?2 OR (?2 LIKE '%.' AND substr(name, 1, ?3)=?2))"
        return c.execute(query, (room_id, name, len(name))).rowcount > 0

    return work
