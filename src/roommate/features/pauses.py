"""Pauses: in a room, or in all, no turn begins until somebody says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roommate.domain import RoomId
from roommate.operations import Call, Change, OfRoomOrAll, Who, changing, changing_if, form, operation
from roommate.rooms.turn_holds import Holds
from roommate.store import pauses

ALL = "all"


@dataclass(frozen=True, slots=True)
class Pause:
    room_id: RoomId | None
    """None: every room."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """`ended` is False where there was no such pause; `still` says who pauses the room that it was said in besides."""

    room_id: RoomId | None
    ended: bool
    still: str


def _paused(pause: Pause) -> str:
    where, again = ("This room is", "`!resume`") if pause.room_id else ("All rooms are", "`!resume all`")
    return f"{where} paused: what runs goes on to its end, what is said is answered after {again}."


def _resumed(done: Resumed) -> str:
    still = f" This room is still paused by {done.still}." if done.still else ""
    if done.ended:
        return f"Resumed.{still}"
    return f"{'This room was' if done.room_id else 'The rooms were'} not paused that way.{still}"


def _subject(params: OfRoomOrAll) -> str:
    return "" if params.room else ALL


class Pauses:
    def __init__(self, holds: Holds, name: Callable[[RoomId, str], Awaitable[str]]) -> None:
        """`name` is what people call somebody in a room."""
        self._holds, self._name = holds, name

    @operation(
        "rooms.pause",
        reads=_paused,
        who=Who.OPERATORS,
        audit="pause",
        subject=_subject,
        chat=("pause", form("pause all", room="")),
        cli="rooms pause",
    )
    async def pause(self, params: OfRoomOrAll, call: Call) -> Change[Pause]:
        """Holds back what is said in a room, or in all, until it is resumed."""
        return changing([pauses.pausing(call.room, call.name)], Pause(call.room), after=self._holds.reload)

    @operation(
        "rooms.resume",
        reads=_resumed,
        who=Who.OPERATORS,
        audit="resume",
        subject=_subject,
        chat=("resume", form("resume all", room="")),
        cli="rooms resume",
    )
    async def resume(self, params: OfRoomOrAll, call: Call) -> Change[Resumed]:
        """Ends a pause: all that waits is answered, in order."""
        about = call.room or call.here
        held = self._holds.of(about, but=[call.room]) if about else None
        still = await self._name(about, held.by) if about and held else ""

        ended, none = Resumed(call.room, True, still), Resumed(call.room, False, still)
        return changing_if(pauses.resuming(call.room), ended, none, after=self._holds.reload)
