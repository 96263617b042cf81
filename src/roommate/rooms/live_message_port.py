"""Where the newest look of a live message goes, and who hears that the outbox has new rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from roommate.domain import JsonObject, RoomId


class Progress(Protocol):
    """Where a live message's newest look goes; only the newest counts and none is stored."""

    def progress(
        self, room_id: RoomId, row: int, look: Callable[[], Awaitable[JsonObject]], *, beat: bool = False
    ) -> None:
        """The live message (outbox row `row`) has something new to show; with `beat`, only that the turn goes on: that
        is the first to give way where the homeserver holds us back. `look` gives its whole new content and is
        called only when an edit is about to be sent, so that a hundred pieces of text cost one rendering."""
        ...

    def forget(self, row: int) -> None:
        """The final edit is on its way: show no more progress of this row."""
        ...

    async def withdraw(self, room_id: RoomId) -> None:
        """Send no more of what waits for this room; returns when nothing of it is on its way."""
        ...

    def wake(self) -> None:
        """The outbox has new rows."""
        ...

    async def typing(self, room_id: RoomId, on: bool) -> None:
        """Best effort; never raises."""
        ...
