"""The typing notice: the first sign of life that people see, as long as anything in the room asks for it."""

from __future__ import annotations

import asyncio

from roommate.domain import RoomId
from roommate.rooms.live_message_port import Progress

TYPING_SECONDS = 20
"""How often the notice is renewed; the homeserver takes it off 30 s after the last."""


class TypingNotice:
    """Of one room, shared by all that works in it."""

    def __init__(self, room_id: RoomId, progress: Progress) -> None:
        self._room_id, self._progress = room_id, progress
        self._askers = 0

    async def show(self) -> None:
        """Until cancelled."""
        self._askers += 1
        try:
            while True:
                await self._progress.typing(self._room_id, True)
                await asyncio.sleep(TYPING_SECONDS)
        finally:
            self._askers -= 1

    async def take_off(self) -> None:
        """One of those who showed it has ended: it goes, if that was the last."""
        if not self._askers:
            await self._progress.typing(self._room_id, False)
