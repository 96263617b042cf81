"""The rooms that something is done in: each has a task, from when it is woken until the bot is out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from roommate import logs
from roommate.domain import Answered, Deed, MeshEvent, OwnMessage, RoomId, SyncBatch, UserId
from roommate.errors import ControlError
from roommate.store import Card, Turn, Work


class Resident(Protocol):
    """A room that lives, as others than itself may use it."""

    @property
    def running(self) -> Sequence[Turn]: ...

    async def stop(
        self,
        by: UserId,
        meant: Callable[[Turn], bool] = ...,
        along: Callable[[int], Work[object] | None] | None = None,
    ) -> int: ...

    def look_again(self) -> None: ...

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed) -> str | None: ...


class Living(Resident, Protocol):
    """A room, as its task is made of it."""

    async def run(self) -> None: ...

    def wake(self) -> None: ...

    @property
    def woken(self) -> bool: ...


class Residents:
    """Closed at first: nothing is begun that a restore, or the return to an older release, would repeat."""

    def __init__(self, rooms_with_work: Callable[[], Awaitable[Sequence[RoomId]]]) -> None:
        self._rooms_with_work = rooms_with_work
        self._rooms: dict[RoomId, Living] = {}
        self._opened: tuple[asyncio.TaskGroup, Callable[[RoomId], Living]] | None = None

    async def open(self, group: asyncio.TaskGroup, make: Callable[[RoomId], Living]) -> None:
        """From now on rooms are made with `make`, and live in this group."""
        self._opened = group, make
        await self.go_on()

    async def go_on(self) -> None:
        """Wake all that have something to do."""
        for room_id in await self._rooms_with_work():
            self.wake(room_id)

    def stored(self, batch: SyncBatch) -> None:
        """Wake those that something came for."""
        nothing_new = Answered | OwnMessage | MeshEvent
        concerned = [one.room_id for one in batch.happened if not isinstance(one.what, nothing_new)]
        concerned += [room.room_id for room in batch.rooms if room.joined == 1]  # the bot alone
        for room_id in dict.fromkeys(concerned):
            self.wake(room_id)

    def wake(self, room_id: RoomId) -> None:
        """There is something new for this room in the inbox."""
        if self._opened is not None:
            self._room(room_id).wake()

    def room(self, room_id: RoomId) -> Resident:
        """Its task is started where it does not run. Raises ControlError while none may."""
        return self._room(room_id)

    def _room(self, room_id: RoomId) -> Living:
        if self._opened is None:
            raise ControlError("the daemon is starting: try again in a minute")
        group, make = self._opened
        if room_id not in self._rooms:
            self._rooms[room_id] = room = make(room_id)
            group.create_task(self._run(room_id, room))
        return self._rooms[room_id]

    async def _run(self, room_id: RoomId, room: Living) -> None:
        logs.about(room=room_id)
        await room.run()
        del self._rooms[room_id]
        if room.woken:
            self.wake(room_id)
