"""Pauses: in a room, or in all, no turn begins until somebody says so."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.holds import Holds
from roommate.operations import Call, Change, OfRoomOrAll, Operation, Unchanged, Who, changing, form
from roommate.store import Transaction, pauses
from roommate.words import RoomId

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


class Pauses:
    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    async def pause(self, params: OfRoomOrAll, call: Call) -> Change[Pause]:
        return changing([pauses.pausing(call.room, call.name)], Pause(call.room), after=self._holds.reload)

    async def resume(self, params: OfRoomOrAll, call: Call) -> Change[Resumed]:
        about = call.room or call.here
        held = self._holds.of(about, but=[call.room]) if about else None
        resuming, still = pauses.resuming(call.room), held.by if held else ""

        def work(c: Transaction) -> Resumed | Unchanged[Resumed]:
            ended = resuming(c)
            result = Resumed(call.room, ended, still)
            return result if ended else Unchanged(result)

        return Change(work, self._holds.reload)


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


PAUSE = Operation(
    name="rooms.pause",
    does="holds back what is said in a room, or in all, until it is resumed",
    params=OfRoomOrAll,
    act=Pauses.pause,
    reads=_paused,
    who=Who.OPERATORS,
    audit="pause",
    subject=_subject,
    chat=(form("pause"), form("pause all", room="")),
    cli=(form("rooms pause"),),
)
RESUME = Operation(
    name="rooms.resume",
    does="ends a pause: all that waits is answered, in order",
    params=OfRoomOrAll,
    act=Pauses.resume,
    reads=_resumed,
    who=Who.OPERATORS,
    audit="resume",
    subject=_subject,
    chat=(form("resume"), form("resume all", room="")),
    cli=(form("rooms resume"),),
)
OPERATIONS = (PAUSE, RESUME)
