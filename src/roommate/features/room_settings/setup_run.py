"""A room's container was made: its setup script runs, and the room watches it in a message of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from roommate.domain import Draft, Exit, Hand, JsonObject, Rank, RoomId
from roommate.errors import SandboxError, StateError, ToolError
from roommate.features.room_settings import values
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.sandbox.room_container_settings import Own
from roommate.settings.config import Settings
from roommate.store import Outbox
from roommate.store.room_settings import RoomSettings
from roommate.text.amounts import age
from roommate.text.printable import block, plain
from roommate.tools.bounded import Bounded
from roommate.tools.sanitized_text import shown

log = logging.getLogger(__name__)

HEAD, TAIL = 500, 3500
"""Bytes of what it prints that people see."""
LIVE_LINES = 8
WORKS_ALL_THE_SAME = "The room works all the same; `!room` shows the script."


class RoomsOwn:
    """`OwnSettings`, as operators have set them."""

    def __init__(
        self, rows: RoomSettings, outbox: Outbox, progress: Progress, settings: Callable[[], Settings]
    ) -> None:
        self._rows, self._outbox, self._progress, self._settings = rows, outbox, progress, settings

    async def of(self, room_id: RoomId) -> Own:
        return values.own(await self._rows.of(room_id))

    async def set_up(self, room_id: RoomId, hand: Hand, script: str, name: str) -> bool:
        printed, began, seconds = Bounded(HEAD, TAIL), time.monotonic(), self._settings().coding_timeout_seconds
        try:
            sign = Draft(room_id, _look("⚙️ This room's setup runs.", ""), Rank.SIGN, once=f"setup:{name}")
            [row] = await self._outbox.put([sign])
        except StateError as error:  # a full disk: the next start tries again
            log.error("%s", error)
            return False
        self._progress.wake()

        async def look() -> JsonObject:
            newest = "\n".join(shown(printed.excerpt()).splitlines()[-LIVE_LINES:])
            words = f"⚙️ This room's setup runs · {age(time.monotonic() - began)}"
            return render.content(f"{words}\n\n{block(newest)}" if newest else words, notice=True)

        def take(piece: bytes) -> None:
            printed.add(piece)
            self._progress.progress(room_id, row, look)

        try:
            how = _how(await hand.run(script, timeout=seconds, on_output=take), seconds)
            came_to_end = True
        except (SandboxError, ToolError) as error:
            how, came_to_end = (
                f"✘ This room's setup was interrupted: {plain(str(error))}.",
                isinstance(error, ToolError),
            )
        took = age(time.monotonic() - began)
        self._progress.forget(row)
        try:
            content = _look(f"{how} ({took})", shown(printed.excerpt()))
            await self._outbox.put([Draft(room_id, content, edits=row)])
        except StateError as error:
            log.error("%s", error)
            return False
        self._progress.wake()
        log.info("the setup of %s: %s", room_id, how)
        return came_to_end


def _how(end: Exit, seconds: float) -> str:
    if end.code == 0:
        return "✔ This room is set up."
    if end.timed_out:
        why = f"took longer than {age(seconds)}"
    elif end.out_of_memory:
        why = "ran out of memory"
    else:
        why = f"ended with signal {end.signal}" if end.code is None else f"ended with exit code {end.code}"
    return f"✘ This room's setup failed: it {why}. {WORKS_ALL_THE_SAME}"


def _look(words: str, printed: str) -> JsonObject:
    details = ("what it printed", block(printed)) if printed.strip() else None
    return render.content(words, notice=True, details=details)
