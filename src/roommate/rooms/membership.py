"""Into rooms and out of them: invitations, accepted or declined with the reason, joining and leaving."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roommate.chat import texts
from roommate.domain import Deed, DeedOutcome, Draft, EventId, JsonObject, RoomId
from roommate.errors import Refused, Transient
from roommate.net.retrying import LONGEST_DELAY, patiently
from roommate.rooms.bot_answers import Replies, notice
from roommate.settings.config import REHEARSAL, Settings
from roommate.store import RoomRow, Rooms, Upgrades, Waiting

log = logging.getLogger(__name__)

AWAY_SECONDS = 60
"""Without an answer to a sync it is our own homeserver that is away."""
JOIN_TRIES = 10
"""Of a room whose server fails: four minutes, and as long as the homeserver itself waits for it each time."""
INVITED_JOIN_TRIES = 150
"""Of one that people wait for us in: about a day."""
LONGEST_JOIN_DELAY = 600.0
"""As long as Synapse leaves a server alone that it could not reach."""
EARLY_JOINS = 6
"""Refusals of a room whose invite stands, within half a minute: the homeserver of who invites signs the invite with
ours and only then stores it, so that we may come before it knows of us."""


class Doors(Protocol):
    """Into a room and out of it. Raises Transient or Refused."""

    async def join(self, room_id: RoomId, via: Sequence[str] = ()) -> None:
        """`via` are servers that know the room."""
        ...

    async def leave(self, room_id: RoomId, reason: str) -> None:
        """Leave a room, or decline its invite; people see the reason."""
        ...

    async def state(self, room_id: RoomId, kind: str) -> JsonObject:
        """A room's state event of this type, with its ``content``."""
        ...

    async def event(self, room_id: RoomId, event_id: EventId) -> JsonObject:
        """The content of an event."""
        ...


@dataclass(frozen=True, slots=True)
class Membership:
    """Of the bot, in all rooms. `silent_seconds` says how long ago the homeserver answered a sync, None before the
    first."""

    doors: Doors
    rooms: Rooms
    upgrades: Upgrades
    replies: Replies
    settings: Callable[[], Settings]
    silent_seconds: Callable[[], float | None]
    lacking: Callable[[], Awaitable[Mapping[str, str]]]
    """See `Sandboxes.lacking`."""
    joining: set[RoomId] = field(default_factory=set)
    """Rooms that were joined since the start: the homeserver may not have said so yet."""

    async def invited(self, waiting: Waiting) -> None:
        """Deal with an inbox row that is an invitation; a crash in between has it done again."""
        incoming, outcome, why = waiting.incoming, DeedOutcome.REFUSED, ""
        room_id, inviter, settings = incoming.room_id, incoming.sender, self.settings()
        try:
            upgrade = await self.upgrades.into(room_id)
            if not (settings.is_allowed(inviter) or (upgrade and upgrade.by == inviter)):
                why, said = "not on the list", texts.declined(settings.operator_ids)
            elif not (upgrade or room_id == settings.control_room or await self._finds_a_place(room_id)):
                why, said = f"MAX_ROOMS={settings.max_rooms}", texts.full(settings.max_rooms, settings.operator_ids)
            if why:
                log.warning("invite of %s declined: %s", inviter, why)
                await patiently(lambda: self.doors.leave(room_id, said))
            else:
                log.info("joining, invited by %s", inviter)
                await self._accept(room_id)
                outcome = DeedOutcome.DONE
        except Refused as error:  # it was taken back, most likely, or the server that it is from has gone
            self.left(room_id)
            log.warning("the invite of %s came to nothing: %s", inviter, error)
            outcome, why = DeedOutcome.FAILED, str(error)
        deed = Deed(inviter, incoming.event_id, "invite", outcome, room_id, detail=why)
        await self.replies.done(waiting.seq, deeds=[deed])

    async def join(self, room_id: RoomId, via: Sequence[str] = ()) -> None:
        """Raises Refused, also where the room's own server does not let us in, again and again, while ours is there:
        whoever waits for that waits for ever."""
        await self._enter(lambda: self.doors.join(room_id, via), JOIN_TRIES, LONGEST_DELAY)

    async def _accept(self, room_id: RoomId) -> None:
        """Join where we are invited, as soon as that can be. Raises Refused."""
        refusals = 0

        async def join() -> None:
            nonlocal refusals
            try:
                await self.doors.join(room_id)
            except Refused as error:
                refusals += 1
                if refusals >= EARLY_JOINS or (await self.rooms.get(room_id)).membership != "invite":
                    raise
                raise Transient(str(error)) from error

        await self._enter(join, INVITED_JOIN_TRIES, LONGEST_JOIN_DELAY)

    async def _enter(self, join: Callable[[], Awaitable[None]], tries: int, longest: float) -> None:
        failures = 0

        def gives_up(error: Transient, delay: float) -> bool:
            nonlocal failures
            silent = self.silent_seconds()
            failures += silent is not None and silent < AWAY_SECONDS
            if failures >= tries:
                return True
            log.warning("not in the room yet: %s; trying again in %.1f s", error, delay)
            return False

        try:
            await patiently(join, gives_up=gives_up, longest=longest)
        except Transient as error:
            raise Refused(str(error)) from error

    async def greeting(self, row: RoomRow) -> Draft:
        """What people read when the bot has come."""
        settings = self.settings()
        model, unread = row.model or settings.llm_model, row.encrypted and settings.e2ee == "off"
        text = texts.greeting(
            model,
            encrypted=unread,
            rehearsal=model == REHEARSAL,
            crowded=row.joined > 2 and not settings.answer_everything,
            lacking=await self.lacking(),
        )
        return notice(row.room_id, text)

    async def leave(self, room_id: RoomId, why: str) -> None:
        """Nothing is left to do there; the sync that says so cleans up."""
        log.info("leaving: %s", why)
        with contextlib.suppress(Refused):
            await patiently(lambda: self.doors.leave(room_id, why))

    def left(self, room_id: RoomId) -> None:
        """The bot is out of it."""
        self.joining.discard(room_id)

    async def _finds_a_place(self, room_id: RoomId) -> bool:
        """Are there fewer rooms than there may be? Then this is one of them from now on."""
        joined = await self.rooms.joined()
        if len({*joined, *self.joining} - {room_id}) >= self.settings().max_rooms:
            return False
        self.joining.add(room_id)
        return True
