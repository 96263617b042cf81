"""A room that was replaced is followed: what it owns moves into the new one, which people go on in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roommate.chat import texts
from roommate.domain import Deed, DeedOutcome, Draft, EventId, JsonObject, RoomId
from roommate.errors import Refused, SandboxError, StateError
from roommate.matrix import power_levels, render
from roommate.net.retrying import patiently
from roommate.rooms.bot_answers import Replies
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.live_message_port import Progress
from roommate.rooms.membership import Doors, Membership
from roommate.rooms.residents import Residents
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.rooms.turn_holds import Holds
from roommate.store import Rooms, Upgrade, Upgrades, Waiting

log = logging.getLogger(__name__)

Halt = Callable[[], Awaitable[None]]
"""Ends what runs in a room, as a restart does."""


@dataclass(frozen=True, slots=True)
class RoomUpgrades:
    """Of all rooms; `residents` are those that are woken by it."""

    upgrades: Upgrades
    rooms: Rooms
    doors: Doors
    membership: Membership
    replies: Replies
    progress: Progress
    sandboxes: Sandboxes
    holds: Holds
    control: ControlRoom
    residents: Residents

    async def arrived(self, new: RoomId) -> bool:
        """Does it replace a room, which is to be followed? Then that is looked at again."""
        if upgrade := await self.upgrades.into(new):
            await self.upgrades.again(upgrade)
            self.residents.wake(upgrade.old)
        return upgrade is not None

    async def follow(self, waiting: Waiting, halt: Halt) -> None:
        """Deal with a tombstone, or take it up again where a crash has left it; `halt` is for the old room. All up to
        the last transaction can be done twice."""
        upgrade = await self.upgrades.of(waiting.incoming.room_id)
        if upgrade is None or upgrade.tombstone != waiting.incoming.event_id or upgrade.state != "open":
            await self.replies.done(waiting.seq)
            return
        try:
            await self._follow(waiting, upgrade, halt)
        except StateError:
            raise
        except Exception:  # neither of the rooms may wait for ever
            log.exception("a room that was replaced could not be followed")
            await self._refuse(waiting, upgrade, "something went wrong: the log has it")

    async def _follow(self, waiting: Waiting, upgrade: Upgrade, halt: Halt) -> None:
        old, new = upgrade.old, upgrade.new
        create, levels = await self._state(old, "m.room.create"), await self._state(old, "m.room.power_levels")
        if not power_levels.may_replace(upgrade.by, create, levels.get("content") or {}):
            await self._refuse(waiting, upgrade, f"{upgrade.by} does not have the power to replace the room")
            return
        was_in = (await self.rooms.get(new)).membership == "join"
        try:
            await self.membership.join(new, via=[upgrade.by.partition(":")[2]])
        except Refused as error:
            log.warning("the room is replaced by %s, which the bot may not join before it is invited: %s", new, error)
            told = self.control.drafts(texts.to_be_invited(old, new, str(error)), quietly=False)
            await self.upgrades.uninvited(waiting.seq, upgrade, list(told))
            self.replies.wake()
            return
        if not power_levels.replaces(await self._state(new, "m.room.create"), old, upgrade.tombstone):
            await self._refuse(waiting, upgrade, "the new room does not say that it replaces this one")
            if not was_in:
                await patiently(
                    lambda: self.doors.leave(new, "this room does not replace the one that I was sent from")
                )
            return
        await self._move(waiting, upgrade, halt)

    async def _move(self, waiting: Waiting, upgrade: Upgrade, halt: Halt) -> None:
        old, new = upgrade.old, upgrade.new
        log.info("replaced by %s: everything moves there", new)
        await halt()
        await self.progress.withdraw(old)
        shown: dict[int, JsonObject] = {}
        for card, event in (await self.upgrades.cards(old)).items():
            shown[card] = await self._shown(old, event)
        try:
            files = await self.sandboxes.move(old, new)
        except SandboxError as error:
            log.error("the files of the room that was replaced stay where they are: %s", error)
            files = False
        said = Draft(new, render.content(texts.moved(files=files), notice=True))
        deed = Deed(upgrade.by, upgrade.tombstone, "room.upgrade", room_id=new, subject=old)
        await self.upgrades.move(waiting.seq, upgrade, shown, said, deed)
        await self.holds.reload()
        self.control.moved(old, new)
        self.residents.room(new).look_again()
        self.replies.wake()

    async def _refuse(self, waiting: Waiting, upgrade: Upgrade, why: str) -> None:
        log.warning("the tombstone of %s, which leads to %s, is not followed: %s", upgrade.by, upgrade.new, why)
        told = self.control.drafts(texts.not_followed(upgrade.old, upgrade.new, why), quietly=False)
        outcome = DeedOutcome.REFUSED
        deed = Deed(upgrade.by, upgrade.tombstone, "room.upgrade", outcome, upgrade.old, upgrade.new, why)
        await self.upgrades.refused(waiting.seq, upgrade, list(told), deed)
        if (await self.rooms.get(upgrade.new)).membership == "join":
            self.residents.room(upgrade.new).look_again()  # it has waited for this
        self.replies.wake()

    async def _state(self, room_id: RoomId, kind: str) -> JsonObject:
        """A state event; empty where there is none, or we may not see it."""
        try:
            return await patiently(lambda: self.doors.state(room_id, kind))
        except Refused:
            return {}

    async def _shown(self, room_id: RoomId, event: EventId) -> JsonObject:
        """What a card's message says."""
        try:
            return await patiently(lambda: self.doors.event(room_id, event))
        except Refused:
            return render.content(texts.CARD_LOST, notice=True)
