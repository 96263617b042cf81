"""What the coding agents in a room have used of models."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from roommate.domain import AgentUsage, RoomId, Usage
from roommate.store import tokens_spent
from roommate.store.database import Database


class AgentUsages:
    """`UsageStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None:
        def work(c: sqlite3.Connection) -> None:
            c.execute(
                """INSERT INTO agent_usage
                     (room_id, agent, model, requests, input_tokens, output_tokens, cached_tokens)
                   VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (room_id, agent, model) DO UPDATE SET
                   requests = requests + 1, input_tokens = input_tokens + excluded.input_tokens,
                   output_tokens = output_tokens + excluded.output_tokens,
                   cached_tokens = cached_tokens + excluded.cached_tokens""",
                (room_id, agent, model, usage.input_tokens, usage.output_tokens, usage.cached_tokens),
            )
            tokens_spent.spending(c, room_id, usage)

        await self._db.run(work)

    async def of(self, room_id: RoomId) -> Sequence[AgentUsage]:
        """By agent and model."""
        rows = await self._db.rows(
            """SELECT agent, model, requests, input_tokens, output_tokens, cached_tokens
               FROM agent_usage WHERE room_id=? ORDER BY agent, model""",
            room_id,
        )
        return [
            AgentUsage(agent, model, requests, Usage(read, written, cached_tokens=cached))
            for agent, model, requests, read, written, cached in rows
        ]
