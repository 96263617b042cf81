"""Speaking in a room from the command line: the bot says it, on behalf of an operator, and takes it as theirs.

What is said is an event of the bot's own first, so that the room sees it; then a row of the inbox, with that event's id
and the operator's name. A crash between the two leaves something said that nobody answers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate.chat.view import plain
from roommate.errors import ControlError
from roommate.house import House
from roommate.matrix import render
from roommate.words import SAID, Draft, EventId, Happening, Incoming, JsonObject, Message, Reaction, RoomId, UserId

LONG_POLL_MS = 20_000
BACK = 100


@dataclass(frozen=True, slots=True)
class Entered:
    """The room, and whose name is used in it."""

    room_id: RoomId
    me: UserId


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened, as Matrix events; those said on somebody's behalf are shown as theirs. `since` is for more."""

    events: Sequence[JsonObject]
    since: str


def operator(house: House) -> UserId:
    """Whose name is used. Raises ControlError when there is none."""
    for one in house.settings.operator_ids:
        return UserId(one)
    raise ControlError("nobody can be spoken for: set OPERATORS or MATRIX_ADMIN_USER")


async def say(house: House, room_id: RoomId, text: str, session: str) -> EventId:
    """Gives the event that shows it. Raises ControlError."""
    who = operator(house)
    content = render.content(f"💬 **{plain(who)}**:\n\n{text}")
    said: JsonObject = {"by": who, "text": text, "session": session}
    draft = Draft(room_id, content | {SAID: said})
    return await _take(house, draft, who, Message(text, mentions=(house.settings.bot,)))


async def react(house: House, room_id: RoomId, target: EventId, key: str, session: str) -> EventId:
    """As a reaction of the operator's. Raises ControlError."""
    who = operator(house)
    relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
    content: JsonObject = {"m.relates_to": relation, SAID: {"by": who, "session": session}}
    return await _take(house, Draft(room_id, content, event_type="m.reaction"), who, Reaction(target, key))


async def follow(
    house: House, room_id: RoomId, since: str, back: int, session: str, tell: Callable[[Seen], Awaitable[None]]
) -> None:
    """Tell what happens, until cancelled: first what is there already. Raises MatrixError."""
    at = since or None
    while True:
        events, following = await house.window.follow(room_id, at, min(back, BACK), LONG_POLL_MS if at else 0)
        await tell(Seen([_shown(event, house.settings.bot, session) for event in events], following))
        at = following


async def _take(house: House, draft: Draft, who: UserId, what: Happening) -> EventId:
    [row] = await house.outbox.put([draft])
    house.progress.wake()
    event = await house.outbox.arrived(row)
    if event is None:
        raise ControlError("the homeserver did not take it: the daemon's log says why")
    await house.inbox.put(Incoming(event, draft.room_id, who, int(time.time() * 1000), what))
    house.wake(draft.room_id)
    return event


def _shown(event: JsonObject, bot: UserId, session: str) -> JsonObject:
    """An event that the bot said for somebody, as if they had; any other as it is."""
    content = event.get("content")
    said = content.get(SAID) if isinstance(content, dict) and event.get("sender") == bot else None
    if not isinstance(said, dict) or not isinstance(content, dict):
        return event
    shown = {**event, "sender": str(said.get("by", ""))}
    if isinstance(text := said.get("text"), str):
        shown["content"] = {"msgtype": "m.text", "body": text}
    if said.get("session") != session:
        shown.pop("unsigned", None)  # else the terminal takes it for what was typed there
    return shown
