"""The rooms' containers: how they are, what they take, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import RoomId
from roommate.operations import Call, OfRoom, Params, Table, operation
from roommate.rooms.sandboxes_port import Sandboxes as Containers
from roommate.store import Rooms
from roommate.text.amounts import size


@dataclass(frozen=True, slots=True)
class SandboxLine:
    room_id: RoomId
    name: str
    up: bool
    about: str


@dataclass(frozen=True, slots=True)
class DiskLine:
    """Bytes; `most` is None where the host cannot limit them."""

    room_id: RoomId
    name: str
    used: int
    most: int | None


def _listed(found: Sequence[SandboxLine]) -> Table:
    return Table([(one.room_id, one.name, one.about) for one in found], ("room", "name", "container"))


def _disk(found: Sequence[DiskLine]) -> Table:
    rows = [(one.room_id, one.name, size(one.used), "" if one.most is None else size(one.most)) for one in found]
    return Table(rows, ("room", "name", "used", "of"))


@dataclass(frozen=True, slots=True)
class Sandboxes:
    rooms: Rooms
    containers: Containers

    @operation(
        "sandbox.list",
        terminal=_listed,
        cli="sandbox ls",
    )
    async def list(self, params: Params, call: Call) -> Sequence[SandboxLine]:
        """Shows the container of each room."""
        rows = await self.rooms.all()
        about = await asyncio.gather(*(self.containers.describe(row.room_id) for row in rows))
        return [
            SandboxLine(row.room_id, row.name or "", self.containers.up(row.room_id), line)
            for row, line in zip(rows, about, strict=True)
        ]

    @operation(
        "sandbox.disk",
        terminal=_disk,
        cli="sandbox disk",
    )
    async def disk(self, params: Params, call: Call) -> Sequence[DiskLine]:
        """Shows what the files of each room take."""
        return [
            DiskLine(row.room_id, row.name or "", *await self.containers.disk(row.room_id))
            for row in await self.rooms.all()
        ]

    @operation("sandbox.stop", audit="sandbox.stop", cli="sandbox stop")
    async def stop(self, params: OfRoom, call: Call) -> str:
        """Stops a room's container; the next call of a tool starts it again."""
        await self.containers.stop(call.its_room)
        return "The container is stopped: the next call of a tool starts it again."

    @operation("sandbox.remove", audit="sandbox.remove", cli="sandbox rm")
    async def remove(self, params: OfRoom, call: Call) -> str:
        """Removes a room's container; it is made anew when it is needed, and the files stay."""
        await self.containers.leave(call.its_room)
        return "The container is removed: it is made anew when it is needed. The files are still there."
