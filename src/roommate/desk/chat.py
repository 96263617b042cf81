"""The desk in chat: `!rooms`, `!who`, `!pause`, `!resume`, `!settings`, for operators."""

from __future__ import annotations

from roommate.changes import Change, change
from roommate.chat.commands import Changed
from roommate.chat.view import plain
from roommate.desk import rooms, settings
from roommate.errors import NotPermitted
from roommate.house import House
from roommate.store import pauses
from roommate.words import RoomId, UserId

ALL = "all"


async def obey(name: str, argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Change:
    """Do the command of this name; gives what to answer. Raises NotPermitted."""
    if name == "who":
        return await _who(room_id, by, house)
    if not house.settings.is_operator(by):
        raise NotPermitted(f"`!{name}` is for operators.", name, argument)
    match name:
        case "rooms":
            return await _rooms(house)
        case "settings":
            return _settings(house)
        case _ if argument not in ("", ALL):
            return f"`!{name}` is about this room, `!{name} all` about every room."
        case "pause":
            return _pause(None if argument == ALL else room_id, by, house)
        case _:
            return _resume(None if argument == ALL else room_id, room_id, house)


async def _rooms(house: House) -> str:
    lines = []
    for line in await rooms.rooms(house):
        about = [
            f"{line.members} members",
            f"turn {line.turn}" if line.turn else "",
            f"{line.waiting} waiting" if line.waiting else "",
            "container up" if line.container else "",
            f"paused by {line.paused}" if line.paused else "",
        ]
        lines.append(f"- {plain(line.name) or 'no name'} (`{line.room_id}`): {', '.join(filter(None, about))}")
    return "\n".join(lines)


async def _who(room_id: RoomId, by: UserId, house: House) -> str:
    set_to = house.settings
    operators = ", ".join(f"`{one}`" for one in set_to.operator_ids) or "nobody"
    allowed = ", ".join(f"`{one}`" for one in set_to.allowed_globs)
    you = "an operator" if set_to.is_operator(by) else "one of those who may ask"
    members = (await house.rooms.get(room_id)).joined
    return f"- operators: {operators}\n- may ask me: {allowed}, and operators\n- you are {you}; {members} members here"


def _settings(house: House) -> str:
    shown = [f"- `{one.name}` {plain(one.value)}" for one in settings.settings(house.settings) if not one.default]
    return "What is set (the rest has its default):\n\n" + "\n".join(shown)


def _pause(room_id: RoomId | None, by: UserId, house: House) -> Change:
    where = "This room is" if room_id else "All rooms are"
    again = "`!resume`" if room_id else "`!resume all`"
    text = f"{where} paused: what runs goes on to its end, what is said is answered after {again}."
    paused, subject = pauses.pausing(room_id, by), "" if room_id else ALL
    return change(paused, text=text, what="pause", subject=subject, after=house.holds.reload)


def _resume(room_id: RoomId | None, here: RoomId, house: House) -> Change:
    holds = house.holds.of(here, but=[room_id])
    still = f" This room is still paused by {holds.by}." if holds else ""
    resumed = pauses.resuming(room_id)
    done = Changed(f"Resumed.{still}", "resume", "" if room_id else ALL)
    nothing = f"{'This room was' if room_id else 'The rooms were'} not paused that way.{still}"
    return Change(lambda c: done if resumed(c) else nothing, house.holds.reload)
