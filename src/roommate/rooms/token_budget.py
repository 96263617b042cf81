"""How many tokens the models of a room may take in a day: counted, told when little is left, and the end of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from roommate.domain import Draft, RoomId
from roommate.rooms.bot_answers import notice
from roommate.rooms.live_message_port import Progress
from roommate.settings.config import Settings
from roommate.store import Outbox
from roommate.store.room_settings import RoomSettings
from roommate.store.tokens_spent import TokensSpent
from roommate.text.amounts import grouped

TOKENS = "tokens"
"""The room's own setting; 0 is no limit."""
SOON = 0.8
"""Of them: then the room is told."""


class TokenBudget:
    """Of all rooms. What is under way is not cut off: who asks a model asks here before."""

    def __init__(
        self,
        rows: RoomSettings,
        spent: TokensSpent,
        outbox: Outbox,
        progress: Progress,
        settings: Callable[[], Settings],
    ) -> None:
        self._rows, self._spent = rows, spent
        self._outbox, self._progress, self._settings = outbox, progress, settings

    async def limit(self, room_id: RoomId) -> int:
        """Tokens of a day; 0 where there is none."""
        own = (await self._rows.of(room_id)).get(TOKENS)
        return self._settings().room_tokens_per_day if own is None else int(own)

    async def today(self, room_id: RoomId) -> int:
        """Tokens since midnight."""
        return await self._spent.since(room_id, self._midnight().timestamp())

    async def over(self, room_id: RoomId) -> str:
        """Why no model is to be asked for this room now, for people; empty where one may be."""
        if not (limit := await self.limit(room_id)) or (used := await self.today(room_id)) < limit:
            return ""
        return self._over(limit, used)

    async def look(self, room_id: RoomId) -> None:
        """Something was spent: tell the room, once a day, that little is left, or nothing."""
        if not (limit := await self.limit(room_id)) or (used := await self.today(room_id)) < SOON * limit:
            return
        text = self._over(limit, used) if used >= limit else self._soon(limit, used)
        day, part = self._midnight().date(), "all" if used >= limit else "soon"
        draft = notice(room_id, text)
        await self._outbox.put([Draft(room_id, draft.content, once=f"tokens:{room_id}:{day}:{limit}:{part}")])
        self._progress.wake()

    def _over(self, limit: int, used: int) -> str:
        return (
            f"This room's models have had their {grouped(limit)} tokens of today ({grouped(used)} so far), so I ask "
            f"none any more. I go on after midnight ({self._settings().time_zone}): say it again then. An operator can "
            f"give the room more: `!room set tokens {2 * limit}`."
        )

    def _soon(self, limit: int, used: int) -> str:
        return (
            f"This room's models have had {grouped(used)} of their {grouped(limit)} tokens of today. When all are used "
            f"I ask none before midnight ({self._settings().time_zone}), unless an operator gives the room more."
        )

    def _midnight(self) -> datetime:
        now = datetime.now(ZoneInfo(self._settings().time_zone))
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
