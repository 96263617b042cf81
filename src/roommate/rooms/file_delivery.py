"""Files that a turn shows to the people of its room: through the outbox, each of them once."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from roommate.domain import Attachment, Draft
from roommate.errors import StateError, ToolError, Transient
from roommate.matrix import render
from roommate.rooms.progress import Progress
from roommate.store import Outbox, Turn

LARGEST = 32 << 20
"""Bytes of a file, whatever the homeserver takes: it waits in the database until it has arrived."""


class TurnShare:
    """Implements `Share`. `limit` asks the homeserver for the largest file that it takes."""

    def __init__(
        self, turn: Turn, outbox: Outbox, progress: Progress, limit: Callable[[], Awaitable[int | None]]
    ) -> None:
        self._turn, self._outbox, self._progress, self._limit = turn, outbox, progress, limit

    async def largest(self) -> int:
        with contextlib.suppress(Transient):  # it is away: the file waits for it
            if limit := await self._limit():
                return min(limit, LARGEST)
        return LARGEST

    async def show(self, call_id: str, file: Attachment) -> None:
        turn = self._turn
        content = render.attachment(file, thread=turn.thread)
        once = f"shown-{turn.id}-{call_id}"
        try:
            await self._outbox.put([Draft(turn.room_id, content, upload=file.content, once=once)])
        except StateError as error:
            raise ToolError(f"it could not be kept for sending: {error}") from error
        self._progress.wake()
