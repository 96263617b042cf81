"""A room that was replaced is followed: what it owns moves into the new one, which people go on in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from roommate.chat import texts
from roommate.domain import Deed, DeedOutcome, Draft, EventId, JsonObject, RoomId
from roommate.errors import Refused, SandboxError, StateError
from roommate.house import House
from roommate.matrix import power_levels, render
from roommate.rooms.retrying import patiently
from roommate.store import Upgrade, Waiting

log = logging.getLogger(__name__)


async def follow(waiting: Waiting, house: House, halt: Callable[[], Awaitable[None]]) -> None:
    """Deal with a tombstone, or take it up again where a crash has left it; `halt` ends what runs in the old room as a
    restart does. All up to the last transaction can be done twice."""
    upgrade = await house.upgrades.of(waiting.incoming.room_id)
    if upgrade is None or upgrade.tombstone != waiting.incoming.event_id or upgrade.state != "open":
        await house.inbox.done(waiting.seq)
        return
    try:
        await _follow(waiting, upgrade, house, halt)
    except StateError:
        raise
    except Exception:  # neither of the rooms may wait for ever
        log.exception("a room that was replaced could not be followed")
        await _refuse(waiting, upgrade, house, "something went wrong: the log has it")


async def _follow(waiting: Waiting, upgrade: Upgrade, house: House, halt: Callable[[], Awaitable[None]]) -> None:
    old, new = upgrade.old, upgrade.new
    create, levels = await _state(house, old, "m.room.create"), await _state(house, old, "m.room.power_levels")
    if not power_levels.may_replace(upgrade.by, create, levels.get("content") or {}):
        await _refuse(waiting, upgrade, house, f"{upgrade.by} does not have the power to replace the room")
        return
    was_in = (await house.rooms.get(new)).membership == "join"
    try:
        await house.join(new, via=[upgrade.by.partition(":")[2]])
    except Refused as error:
        log.warning("the room is replaced by %s, which the bot may not join before it is invited: %s", new, error)
        told = house.control.drafts(texts.to_be_invited(old, new, str(error)), quietly=False)
        await house.upgrades.uninvited(waiting.seq, upgrade, list(told))
        house.progress.wake()
        return
    if not power_levels.replaces(await _state(house, new, "m.room.create"), old, upgrade.tombstone):
        await _refuse(waiting, upgrade, house, "the new room does not say that it replaces this one")
        if not was_in:
            await patiently(lambda: house.doors.leave(new, "this room does not replace the one that I was sent from"))
        return
    await _move(waiting, upgrade, house, halt)


async def _move(waiting: Waiting, upgrade: Upgrade, house: House, halt: Callable[[], Awaitable[None]]) -> None:
    old, new = upgrade.old, upgrade.new
    log.info("replaced by %s: everything moves there", new)
    await halt()
    await house.progress.withdraw(old)
    shown: dict[int, JsonObject] = {}
    for card, event in (await house.upgrades.cards(old)).items():
        shown[card] = await _shown(house, old, event)
    try:
        files = await house.sandboxes.move(old, new)
    except SandboxError as error:
        log.error("the files of the room that was replaced stay where they are: %s", error)
        files = False
    said = Draft(new, render.content(texts.moved(files=files), notice=True))
    deed = Deed(upgrade.by, upgrade.tombstone, "room.upgrade", room_id=new, subject=old)
    await house.upgrades.move(waiting.seq, upgrade, shown, said, deed)
    await house.holds.reload()
    if house.control.room_id == old:
        log.warning("the control room was replaced: set CONTROL_ROOM=%s", new)
        house.control.room_id = new
    house.room(new).look_again()
    house.progress.wake()


async def _refuse(waiting: Waiting, upgrade: Upgrade, house: House, why: str) -> None:
    log.warning("the tombstone of %s, which leads to %s, is not followed: %s", upgrade.by, upgrade.new, why)
    told = house.control.drafts(texts.not_followed(upgrade.old, upgrade.new, why), quietly=False)
    outcome = DeedOutcome.REFUSED
    deed = Deed(upgrade.by, upgrade.tombstone, "room.upgrade", outcome, upgrade.old, upgrade.new, why)
    await house.upgrades.refused(waiting.seq, upgrade, list(told), deed)
    if (await house.rooms.get(upgrade.new)).membership == "join":
        house.room(upgrade.new).look_again()  # it has waited for this
    house.progress.wake()


async def _state(house: House, room_id: RoomId, kind: str) -> JsonObject:
    """A state event; empty where there is none, or we may not see it."""
    try:
        return await patiently(lambda: house.doors.state(room_id, kind))
    except Refused:
        return {}


async def _shown(house: House, room_id: RoomId, event: EventId) -> JsonObject:
    """What a card's message says."""
    try:
        return await patiently(lambda: house.doors.event(room_id, event))
    except Refused:
        return render.content(texts.CARD_LOST, notice=True)
