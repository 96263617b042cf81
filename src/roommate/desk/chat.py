"""The desk in chat: `!rooms`, `!who`, `!settings`, for operators."""

from __future__ import annotations

from roommate.chat.view import plain
from roommate.desk import rooms, settings
from roommate.errors import NotPermitted
from roommate.house import House
from roommate.words import RoomId, UserId


async def obey(name: str, argument: str, *, room_id: RoomId, by: UserId, house: House) -> str:
    """Do the command of this name; gives what to answer. Raises NotPermitted."""
    if name == "who":
        return await _who(room_id, by, house)
    if not house.settings.is_operator(by):
        raise NotPermitted(f"`!{name}` is for operators.", name, argument)
    match name:
        case "rooms":
            return await _rooms(house)
        case _:
            return _settings(house)


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
