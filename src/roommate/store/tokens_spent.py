"""The tokens that a room's models took of late, by quarters of an hour: any time zone's midnight is between two."""

from __future__ import annotations

import time

from roommate.domain import RoomId, Usage
from roommate.store.database import Database, Transaction

QUARTER = 900
"""Seconds."""
KEPT = 3 * 86_400 // QUARTER
"""Quarters: a day is never longer, whatever the zone."""


class TokensSpent:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def since(self, room_id: RoomId, at: float) -> int:
        """Tokens since then, in seconds since 1970: a quarter of an hour."""
        query = "SELECT coalesce(sum(tokens), 0) FROM tokens_spent WHERE room_id=? AND quarter >= ?"
        return int((await self._db.row(query, room_id, int(at) // QUARTER))[0])


def spending(c: Transaction, room_id: RoomId, usage: Usage) -> None:
    """Whatever took them: a turn's model, a coding agent's."""
    if tokens := usage.input_tokens + usage.output_tokens:
        quarter = int(time.time()) // QUARTER
        c.execute(
            """INSERT INTO tokens_spent (room_id, quarter, tokens) VALUES (?, ?, ?)
               ON CONFLICT (room_id, quarter) DO UPDATE SET tokens = tokens + excluded.tokens""",
            (room_id, quarter, tokens),
        )
        c.execute("DELETE FROM tokens_spent WHERE room_id=? AND quarter < ?", (room_id, quarter - KEPT))
