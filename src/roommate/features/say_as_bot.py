"""Speaking in a room from the command line: the bot says it, on behalf of an operator, and takes it as theirs.

What is said is an event of the bot's own first, so that the room sees it; then a row of the inbox, with that event's id
and the operator's name. A crash between the two leaves something said that nobody answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

from pydantic import Field

from roommate.domain import SAID, Draft, EventId, Happening, Incoming, JsonObject, Message, Reaction, RoomId, UserId
from roommate.errors import ControlError
from roommate.matrix import render
from roommate.operations import Call, Change, OfRoom, changing, operation
from roommate.rooms.live_message_port import Progress
from roommate.settings.config import Settings
from roommate.store import Outbox, card_choice_reactions
from roommate.store.inbox import putting
from roommate.text.printable import plain

LONG_POLL_MS = 20_000
BACK = 100


class Window(Protocol):
    """Into a room, to look at it."""

    async def follow(
        self, room: RoomId, since: str | None, back: int, timeout_ms: int
    ) -> tuple[Sequence[JsonObject], str]:
        """The room's events since then, as the homeserver has them, and the next `since`; without one the last `back`.

        Raises Transient or Refused.
        """
        ...


class Session(OfRoom):
    session: Annotated[str, Field(max_length=64)] = ""
    """Tells one who speaks from another."""


class Said(Session):
    text: Annotated[str, Field(min_length=1, max_length=40_000)]


class Reacted(Session):
    event: Annotated[str, Field(max_length=300)]
    key: Annotated[str, Field(min_length=1, max_length=20)]


class Followed(Session):
    since: Annotated[str, Field(max_length=4000)] = ""
    back: Annotated[int, Field(ge=0)] = 0


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


@dataclass(frozen=True, slots=True)
class Speaking:
    settings: Callable[[], Settings]
    window: Window
    outbox: Outbox
    progress: Progress
    wake: Callable[[RoomId], None]

    @operation("speaking.enter")
    async def enter(self, params: OfRoom, call: Call) -> Entered:
        """Tells which room that is, and whose name is used there."""
        return Entered(call.its_room, self._operator())

    @operation("speaking.say", audit="say")
    async def say(self, params: Said, call: Call) -> Change[EventId]:
        """Says something in a room, on behalf of an operator.

        Gives the event that shows it.
        """
        who = self._operator()
        content = render.content(f"💬 **{plain(who)}**:\n\n{params.text}")
        said: JsonObject = {"by": who, "text": params.text, "session": params.session}
        draft = Draft(call.its_room, content | {SAID: said})
        return await self._take(draft, who, Message(params.text, mentions=(self.settings().bot,)))

    @operation("speaking.react", audit="react")
    async def react(self, params: Reacted, call: Call) -> Change[EventId]:
        """Reacts to something in a room, on behalf of an operator."""
        who, target = self._operator(), EventId(params.event)
        relation = {"rel_type": "m.annotation", "event_id": target, "key": card_choice_reactions.beside(params.key)}
        content: JsonObject = {"m.relates_to": relation, SAID: {"by": who, "session": params.session}}
        draft = Draft(call.its_room, content, event_type="m.reaction")
        return replace(await self._take(draft, who, Reaction(target, params.key)), detail=params.key)

    @operation("speaking.follow", seconds=None)
    async def follow(self, params: Followed, call: Call) -> None:
        """Sends what happens in a room, until cancelled: first what is there already."""
        at = params.since or None
        while True:
            most, patience = min(params.back, BACK), LONG_POLL_MS if at else 0
            events, following = await self.window.follow(call.its_room, at, most, patience)
            bot = self.settings().bot
            await call.tell(Seen([_shown(event, bot, params.session) for event in events], following))
            at = following

    def _operator(self) -> UserId:
        """Whose name is used. Raises ControlError when there is none."""
        for one in self.settings().operator_ids:
            return UserId(one)
        raise ControlError("nobody can be spoken for: set OPERATORS or MATRIX_ADMIN_USER")

    async def _take(self, draft: Draft, who: UserId, what: Happening) -> Change[EventId]:
        """Raises ControlError."""
        [row] = await self.outbox.put([draft])
        self.progress.wake()
        event = await self.outbox.arrived(row)
        if event is None:
            raise ControlError("the homeserver did not take it: the daemon's log says why")
        incoming = Incoming(event, draft.room_id, who, int(time.time() * 1000), what)

        async def taken() -> None:
            self.wake(draft.room_id)

        return changing([putting(incoming)], event, who, taken)
