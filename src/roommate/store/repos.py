"""Which repositories of the forge a room may use."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import RoomId, UserId
from roommate.store.database import Database, Work


class Repos:
    """`RepoStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def granted(self, room_id: RoomId, name: str) -> str | None:
        row = await self._db.row("SELECT repo FROM repos WHERE room_id=? AND repo=?", room_id, name)
        return str(row[0]) if row else None

    async def of(self, room_id: RoomId) -> Sequence[str]:
        """By name."""
        rows = await self._db.rows("SELECT repo FROM repos WHERE room_id=? ORDER BY repo", room_id)
        return [name for (name,) in rows]


def granting(room_id: RoomId, name: str, by: UserId) -> Work[object]:
    query = "INSERT OR REPLACE INTO repos (room_id, repo, added_by) VALUES (?, ?, ?)"
    return lambda c: c.execute(query, (room_id, name, by))


def revoking(room_id: RoomId, name: str) -> Work[bool]:
    """False when there is none such."""
    query = "DELETE FROM repos WHERE room_id=? AND repo=?"
    return lambda c: c.execute(query, (room_id, name)).rowcount > 0
