"""The rooms' containers: how they are, what they take, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.amounts import size
from roommate.chat.view import block
from roommate.operations import Call, OfRoom, Operation, Params, Table, form
from roommate.ports import Sandboxes as Containers
from roommate.store import Rooms
from roommate.words import RoomId


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


@dataclass(frozen=True, slots=True)
class Sandboxes:
    rooms: Rooms
    containers: Containers

    async def list(self, params: Params, call: Call) -> Sequence[SandboxLine]:
        rows = await self.rooms.all()
        about = await asyncio.gather(*(self.containers.describe(row.room_id) for row in rows))
        return [
            SandboxLine(row.room_id, row.name or "", self.containers.up(row.room_id), line)
            for row, line in zip(rows, about, strict=True)
        ]

    async def disk(self, params: Params, call: Call) -> Sequence[DiskLine]:
        return [
            DiskLine(row.room_id, row.name or "", *await self.containers.disk(row.room_id))
            for row in await self.rooms.all()
        ]

    async def stop(self, params: OfRoom, call: Call) -> str:
        await self.containers.stop(call.its_room)
        return "The container is stopped: the next call of a tool starts it again."

    async def remove(self, params: OfRoom, call: Call) -> str:
        await self.containers.leave(call.its_room)
        return "The container is removed: it is made anew when it is needed. The files are still there."


def _listed(found: Sequence[SandboxLine]) -> Table:
    return Table([(one.room_id, one.name, one.about) for one in found], ("room", "name", "container"))


def _disk(found: Sequence[DiskLine]) -> Table:
    rows = [(one.room_id, one.name, size(one.used), "" if one.most is None else size(one.most)) for one in found]
    return Table(rows, ("room", "name", "used", "of"))


OPERATIONS = (
    Operation(
        name="sandbox.list",
        does="shows the container of each room",
        params=Params,
        act=Sandboxes.list,
        reads=lambda found: block("\n".join(f"{one.room_id} {one.about}" for one in found)),
        terminal=_listed,
        cli=(form("sandbox ls"),),
    ),
    Operation(
        name="sandbox.disk",
        does="shows what the files of each room take",
        params=Params,
        act=Sandboxes.disk,
        reads=lambda found: block("\n".join(f"{one.room_id} {size(one.used)}" for one in found)),
        terminal=_disk,
        cli=(form("sandbox disk"),),
    ),
    Operation(
        name="sandbox.stop",
        does="stops a room's container; the next call of a tool starts it again",
        params=OfRoom,
        act=Sandboxes.stop,
        reads=str,
        audit="sandbox.stop",
        cli=(form("sandbox stop"),),
    ),
    Operation(
        name="sandbox.remove",
        does="removes a room's container; it is made anew when it is needed, and the files stay",
        params=OfRoom,
        act=Sandboxes.remove,
        reads=str,
        audit="sandbox.remove",
        cli=(form("sandbox rm"),),
    ),
)
