"""Which coding agents a room asks first, and the sessions that its conversations have with them."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import RoomId
from roommate.store.database import Database, Work


class Agents:
    """`AgentStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def preferred(self, room_id: RoomId, role: str) -> tuple[str, ...]:
        row = await self._db.row("SELECT agents FROM agents_preferred WHERE room_id=? AND role=?", room_id, role)
        return tuple(row[0].split()) if row else ()

    async def session(self, conversation_id: int, agent: str) -> str:
        query = "SELECT session FROM agent_sessions WHERE conversation_id=? AND agent=?"
        row = await self._db.row(query, conversation_id, agent)
        return row[0] if row else ""

    async def keep_session(self, conversation_id: int, agent: str, session: str) -> None:
        query = "INSERT OR REPLACE INTO agent_sessions (conversation_id, agent, session) VALUES (?, ?, ?)"
        await self._db.run(lambda c: c.execute(query, (conversation_id, agent, session)))


def preferring(room_id: RoomId, role: str, agents: Sequence[str]) -> Work[object]:
    """No agents at all: as the operator of the daemon has set it."""
    query = "INSERT OR REPLACE INTO agents_preferred (room_id, role, agents) VALUES (?, ?, ?)"
    return lambda c: c.execute(query, (room_id, role, " ".join(agents)))
