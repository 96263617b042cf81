"""Why no turn begins: a pause, of one room or of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from roommate.domain import RoomId
from roommate.store import Pause, Pauses

FLAG = "PAUSE"
"""The name of a file in STATE_DIR that pauses all rooms; with ``_`` and a room's id behind it, that room."""


class Holds:
    """What is paused, from the store and from files. `changed` is called when that changes."""

    def __init__(self, pauses: Pauses, changed: Callable[[], Awaitable[None]]) -> None:
        self._pauses = pauses
        self._changed = changed
        self._standing: dict[RoomId | None, Pause] = {}
        self._flags: Mapping[str, float] = {}

    async def load(self, files: Mapping[str, float]) -> None:
        """What stood when the daemon ended, and the pause files that are there."""
        self._flags = files
        await self._read()

    def of(self, room_id: RoomId, but: Collection[RoomId | None] = ()) -> Pause | None:
        """What holds this room back; where there is more than one, what did so first. Those `but` for the pauses of
        these rooms (None: of all), which are about to end."""
        names = (f"{FLAG}_{room_id}", f"{FLAG}_{room_id.removeprefix('!')}")
        flags = [Pause(room_id, f"the file {name}", self._flags[name]) for name in names if name in self._flags]
        found = [self._standing.get(key) for key in (room_id, None) if key not in but]
        flags += [pause] if (pause := self._flag_of_all()) else []
        return min((pause for pause in [*found, *flags] if pause), key=lambda pause: pause.since, default=None)

    def of_all(self) -> Pause | None:
        """What holds every room back."""
        return self._flag_of_all() or self._standing.get(None)

    async def reload(self) -> None:
        """What is paused has changed in the store."""
        await self._read()
        await self._changed()

    async def flagged(self, files: Mapping[str, float]) -> None:
        """These pause files are there, each with the time of its last change."""
        if files != self._flags:
            self._flags = files
            await self._changed()

    async def _read(self) -> None:
        self._standing = {pause.room_id: pause for pause in await self._pauses.all()}

    def _flag_of_all(self) -> Pause | None:
        return Pause(None, f"the file {FLAG}", self._flags[FLAG]) if FLAG in self._flags else None
