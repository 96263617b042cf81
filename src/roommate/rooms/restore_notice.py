"""Where something has happened since the backup that this state comes from, people are told."""

from __future__ import annotations

import logging

from roommate.chat import texts
from roommate.domain import Draft
from roommate.matrix import render
from roommate.store import Restored

log = logging.getLogger(__name__)


async def tell_of_restore(restored: Restored) -> None:
    """Once, after the first sync."""
    if past := await restored.untold():
        content = render.content(texts.restored(past.at), notice=True)
        log.warning("this state is of a backup: %d rooms are told", len(past.rooms))
        await restored.told([Draft(room_id, content) for room_id in past.rooms])
