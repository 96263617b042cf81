"""Files that a turn shows to the people of its room: through the outbox, each of them once."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from roommate.domain import Attachment, Draft
from roommate.errors import StateError, ToolError, Transient
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.store import Outbox, Turn

LARGEST = 32 << 20
"""Bytes of a file, whatever the homeserver takes: it waits in the database until it has arrived."""


async def largest(limit: Callable[[], Awaitable[int | None]]) -> int:
    """Bytes of a file that can be sent; `limit` asks the homeserver for the largest that it takes."""
    with contextlib.suppress(Transient):  # it is away: the file waits for it
        if taken := await limit():
            return min(taken, LARGEST)
    return LARGEST


class TurnShare:
    """Implements `Share`. `limit` asks the homeserver for the largest file that it takes; `up` waits for the turn's
    own message, below which files stand."""

    def __init__(
        self,
        turn: Turn,
        outbox: Outbox,
        progress: Progress,
        limit: Callable[[], Awaitable[int | None]],
        up: Callable[[], Awaitable[None]],
    ) -> None:
        self._turn, self._outbox, self._progress, self._limit, self._up = turn, outbox, progress, limit, up

    async def largest(self) -> int:
        return await largest(self._limit)

    async def show(self, call_id: str, file: Attachment) -> None:
        turn = self._turn
        content = render.attachment(file, thread=turn.thread)
        once = f"shown-{turn.id}-{call_id}"
        await self._up()
        try:
            await self._outbox.put([Draft(turn.room_id, content, upload=file.content, once=once)])
        except StateError as error:
            raise ToolError(f"it could not be kept for sending: {error}") from error
        self._progress.wake()
