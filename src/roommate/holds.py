"""Why no turn begins: a pause, of one room or of all, or the trial of a release."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from roommate.store import Pause, Pauses
from roommate.words import RoomId

FLAG = "PAUSE"
"""The name of a file in STATE_DIR that pauses all rooms; with ``_`` and a room's id behind it, that room."""


class Holds:
    """What is paused, from the store and from files. `changed` is called when that changes."""

    def __init__(self, pauses: Pauses, changed: Callable[[], Awaitable[None]]) -> None:
        self._pauses = pauses
        self._changed = changed
        self._standing: dict[RoomId | None, Pause] = {}
        self._flags: Mapping[str, float] = {}
        self.on_trial = False
        """A release that may be taken back: rooms do nothing at all, and what comes in waits. See `begin_trial`."""

    async def load(self, files: Mapping[str, float]) -> None:
        """What stood when the daemon ended, and the pause files that are there."""
        self._flags = files
        self._standing = {pause.room_id: pause for pause in await self._pauses.all()}

    def of(self, room_id: RoomId) -> Pause | None:
        """What holds this room back; where there is more than one, what did so first."""
        names = (f"{FLAG}_{room_id}", f"{FLAG}_{room_id.removeprefix('!')}")
        flags = [Pause(room_id, f"the file {name}", self._flags[name]) for name in names if name in self._flags]
        found = [self._standing.get(room_id), self.of_all(), *flags]
        return min((pause for pause in found if pause), key=lambda pause: pause.since, default=None)

    def of_all(self) -> Pause | None:
        """What holds every room back."""
        if FLAG in self._flags:
            return Pause(None, f"the file {FLAG}", self._flags[FLAG])
        return self._standing.get(None)

    async def pause(self, room_id: RoomId | None, by: str) -> Pause:
        """From now on no turn begins in the room, or in all (None). What runs goes on to its end."""
        self._standing[room_id] = pause = await self._pauses.put(room_id, by)
        await self._changed()
        return pause

    async def resume(self, room_id: RoomId | None) -> bool:
        """Take a pause back; False when there was none. A file, or the pause of all, may hold the room still."""
        removed = await self._pauses.remove(room_id)
        self._standing.pop(room_id, None)
        await self._changed()
        return removed

    async def flagged(self, files: Mapping[str, float]) -> None:
        """These pause files are there, each with the time of its last change."""
        if files != self._flags:
            self._flags = files
            await self._changed()

    def begin_trial(self) -> None:
        """Call it before the rooms are woken: nothing is done that a return to the older release would repeat."""
        self.on_trial = True

    async def end_trial(self) -> None:
        """The release stays: everything goes on."""
        self.on_trial = False
        await self._changed()
