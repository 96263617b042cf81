"""The desk on the control socket: each method with its parameters; what changes something is in the audit log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from roommate.control.methods import Caller, Method
from roommate.desk import files, sandboxes, speaking
from roommate.desk.params import (
    Followed,
    OfFile,
    OfRoom,
    OpenShell,
    Piece,
    Reacted,
    Resized,
    Run,
    Said,
    Typed,
)
from roommate.desk.shells import Shells
from roommate.doors.socket import SOCKET
from roommate.errors import RoommateError
from roommate.house import House
from roommate.words import Deed, DeedOutcome, EventId, Exit, RoomId

log = logging.getLogger(__name__)

T = TypeVar("T")


def deed_of(caller: Caller, what: str) -> Deed:
    return Deed(f"uid {caller.uid}", SOCKET, what)


def methods(house: House) -> dict[str, Method]:
    """By name."""
    desk = _Desk(house)
    return {
        "sandbox.run": Method(desk.run, Run, seconds=None),
        "sandbox.shell": Method(desk.shell, OpenShell, seconds=None),
        "sandbox.type": Method(desk.type, Typed, seconds=None),
        "sandbox.resize": Method(desk.resize, Resized),
        "workspace.get": Method(desk.get, OfFile, seconds=None),
        "workspace.put": Method(desk.put, Piece),
        "workspace.export": Method(desk.export, OfRoom, seconds=None),
        "workspace.unpack": Method(desk.unpack, OfFile, seconds=None),
        "speaking.enter": Method(desk.enter, OfRoom),
        "speaking.say": Method(desk.say, Said),
        "speaking.react": Method(desk.react, Reacted),
        "speaking.follow": Method(desk.follow, Followed, seconds=None),
    }


class _Desk:
    def __init__(self, house: House) -> None:
        self._house = house
        self._shells = Shells()

    # ── Looking ──

    async def enter(self, params: OfRoom, caller: Caller) -> Any:
        return speaking.Entered(await self._id(params.room), speaking.operator(self._house))

    async def follow(self, params: Followed, caller: Caller) -> None:
        room_id = await self._id(params.room)
        await speaking.follow(self._house, room_id, params.since, params.back, params.session, caller.tell)

    # ── Doing ──

    async def say(self, params: Said, caller: Caller) -> EventId:
        room_id = await self._id(params.room)
        deed = replace(deed_of(caller, "say"), subject=speaking.operator(self._house))
        return await self._noted(deed, room_id, lambda: speaking.say(self._house, room_id, params.text, params.session))

    async def react(self, params: Reacted, caller: Caller) -> EventId:
        room_id, target = await self._id(params.room), EventId(params.event)
        deed = replace(deed_of(caller, "react"), subject=speaking.operator(self._house), detail=params.key)
        return await self._noted(
            deed, room_id, lambda: speaking.react(self._house, room_id, target, params.key, params.session)
        )

    async def run(self, params: Run, caller: Caller) -> Any:
        room_id = await self._id(params.room)
        deed = replace(deed_of(caller, "sandbox.run"), subject=params.command[0])
        return await self._noted(
            deed, room_id, lambda: sandboxes.run(self._house, room_id, params.command, params.stdin, caller.tell)
        )

    async def shell(self, params: OpenShell, caller: Caller) -> Exit:
        room_id = await self._id(params.room)
        await self._house.audit.record(replace(deed_of(caller, "sandbox.shell"), room_id=room_id))
        size = (params.rows, params.columns)
        return await self._shells.open(self._house, room_id, size, params.term, caller.tell)

    async def type(self, params: Typed, caller: Caller) -> None:
        await self._shells.type(params.shell, params.keys)

    async def resize(self, params: Resized, caller: Caller) -> None:
        await self._shells.resize(params.shell, params.rows, params.columns)

    async def get(self, params: OfFile, caller: Caller) -> int:
        room_id = await self._id(params.room)
        deed = replace(deed_of(caller, "workspace.get"), subject=params.path)
        return await self._noted(deed, room_id, lambda: files.get(self._house, room_id, params.path, caller.tell))

    async def put(self, params: Piece, caller: Caller) -> None:
        room_id = await self._id(params.room)
        deed = replace(deed_of(caller, "workspace.put"), subject=params.path)

        async def put() -> None:
            await files.put(self._house, room_id, params.path, params.piece, first=params.first)

        await (self._noted(deed, room_id, put) if params.first else put())

    async def export(self, params: OfRoom, caller: Caller) -> None:
        room_id = await self._id(params.room)
        deed = deed_of(caller, "workspace.export")
        await self._noted(deed, room_id, lambda: files.export(self._house, room_id, caller.tell))

    async def unpack(self, params: OfFile, caller: Caller) -> None:
        room_id = await self._id(params.room)
        deed = deed_of(caller, "workspace.import")
        await self._noted(deed, room_id, lambda: files.unpack(self._house, room_id, params.path))

    async def _id(self, named: str) -> RoomId:
        return (await self._house.rooms.find(named)).room_id

    async def _noted(self, deed: Deed, room_id: RoomId | None, act: Callable[[], Awaitable[T]]) -> T:
        """Do it, and write down that it was done, or that it failed."""
        deed = replace(deed, room_id=room_id)
        try:
            result = await act()
        except RoommateError as error:
            await self._house.audit.record(replace(deed, outcome=DeedOutcome.FAILED, detail=str(error)))
            raise
        await self._house.audit.record(deed)
        return result
