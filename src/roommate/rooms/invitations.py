"""An invitation into a room: accepted, or declined with the reason."""

from __future__ import annotations

import logging

from roommate.chat import texts
from roommate.domain import Deed, DeedOutcome, RoomId
from roommate.errors import Refused
from roommate.house import House
from roommate.rooms.retrying import patiently
from roommate.store import Waiting

log = logging.getLogger(__name__)


async def answer(waiting: Waiting, house: House) -> None:
    """Deal with an inbox row that is an invitation; a crash in between has it done again."""
    incoming, outcome, why = waiting.incoming, DeedOutcome.REFUSED, ""
    room_id, inviter, settings = incoming.room_id, incoming.sender, house.settings
    try:
        upgrade = await house.upgrades.into(room_id)
        if not (settings.is_allowed(inviter) or (upgrade and upgrade.by == inviter)):
            why, said = "not on the list", texts.declined(settings.operator_ids)
        elif not (upgrade or room_id == settings.control_room or await _finds_a_place(room_id, house)):
            why, said = f"MAX_ROOMS={settings.max_rooms}", texts.full(settings.max_rooms, settings.operator_ids)
        if why:
            log.warning("invite of %s declined: %s", inviter, why)
            await patiently(lambda: house.doors.leave(room_id, said))
        else:
            log.info("joining, invited by %s", inviter)
            await house.join(room_id)
            outcome = DeedOutcome.DONE
    except Refused as error:  # it was taken back, most likely, or the server that it is from has gone
        house.joining.discard(room_id)
        log.warning("the invite of %s came to nothing: %s", inviter, error)
        outcome, why = DeedOutcome.FAILED, str(error)
    deed = Deed(inviter, incoming.event_id, "invite", outcome, room_id, detail=why)
    await house.inbox.done(waiting.seq, deeds=[deed])


async def _finds_a_place(room_id: RoomId, house: House) -> bool:
    """Are there fewer rooms than there may be? Then this is one of them from now on."""
    joined = await house.rooms.joined()
    if len({*joined, *house.joining} - {room_id}) >= house.settings.max_rooms:
        return False
    house.joining.add(room_id)
    return True
