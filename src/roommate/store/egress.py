"""What a room's container may reach."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import Destination, RoomId, UserId
from roommate.store.database import Database, Work


class Egress:
    """`EgressStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def rules(self, room_id: RoomId) -> Sequence[Destination]:
        """By host."""
        rows = await self._db.rows("SELECT host, port FROM egress WHERE room_id=? ORDER BY host, port", room_id)
        return [Destination(host, port) for host, port in rows]

    async def add(self, room_id: RoomId, rule: Destination, by: UserId) -> None:
        await self._db.run(opening(room_id, rule, by))

    async def presets(self, room_id: RoomId) -> tuple[str, ...] | None:
        row = await self._db.row("SELECT presets FROM egress_presets WHERE room_id=?", room_id)
        return tuple(row[0].split()) if row else None


def opening(room_id: RoomId, rule: Destination, by: UserId) -> Work[object]:
    query = "INSERT OR IGNORE INTO egress (room_id, host, port, added_by) VALUES (?, ?, ?, ?)"
    return lambda c: c.execute(query, (room_id, rule.host, rule.port, by))


def shutting(room_id: RoomId, rule: Destination) -> Work[bool]:
    """False when there is none such."""
    query = "DELETE FROM egress WHERE room_id=? AND host=? AND port=?"
    return lambda c: c.execute(query, (room_id, rule.host, rule.port)).rowcount > 0


def choosing_presets(room_id: RoomId, presets: Sequence[str]) -> Work[object]:
    query = "INSERT OR REPLACE INTO egress_presets (room_id, presets) VALUES (?, ?)"
    return lambda c: c.execute(query, (room_id, " ".join(presets)))
