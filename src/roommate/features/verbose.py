"""Whether a room sees the words of its model's thinking, and all that it gives its tools."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.operations import Call, Change, OfRoom, Unchanged, Who, form, operation
from roommate.rooms.running_turn import VERBOSE
from roommate.store import RoomSettings, Transaction
from roommate.store.room_settings import setting, unsetting

ON = "on"


class Wanted(OfRoom):
    on: bool


def _told(on: bool) -> str:
    if on:
        return "You see what the model thinks, and what it gives its tools, from now on. `!verbose off` ends that."
    return "You see that the model thinks, and in a line what each tool is about. `!verbose on` shows the words."


@dataclass(frozen=True, slots=True)
class Verbosity:
    rows: RoomSettings

    @operation("verbose.show", reads=_told, who=Who.ANYONE, chat="verbose", cli="verbose show")
    async def show(self, params: OfRoom, call: Call) -> bool:
        """Says whether the words of the model's thinking are shown."""
        return VERBOSE in await self.rows.of(call.its_room)

    @operation(
        "verbose.set",
        reads=_told,
        who=Who.ANYONE,
        audit="verbose",
        subject=lambda params: "on" if params.on else "off",
        chat=(form("verbose on", on=True), form("verbose off", on=False)),
        cli=(form("verbose on", on=True), form("verbose off", on=False)),
    )
    async def set(self, params: Wanted, call: Call) -> Change[bool]:
        """Shows the words of the model's thinking and of its tools' arguments, or does not."""
        change = setting(call.its_room, VERBOSE, ON) if params.on else unsetting(call.its_room, VERBOSE)

        def work(c: Transaction) -> bool | Unchanged[bool]:
            return params.on if change(c) else Unchanged(params.on)

        return Change(work)
