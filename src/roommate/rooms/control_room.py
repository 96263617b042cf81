"""The room that operators watch: failures, questions that only they may answer, updates. Through the outbox."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from roommate import logs
from roommate.domain import TOLD, Draft, JsonObject, RoomId
from roommate.errors import MatrixError, StateError
from roommate.logs.redaction import Redaction
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.store import Outbox, Upgrades
from roommate.text.printable import block

log = logging.getLogger(__name__)

Send = Callable[[RoomId, str, JsonObject, str], Awaitable[object]]
"""Of a room, a type, a content and a transaction id. Raises MatrixError."""

GATHER_SECONDS = 2.0
"""A failure seldom comes alone."""
QUIET_SECONDS = 60.0
"""Between two messages about failures: what comes in the meantime is in the next one."""
LINES = 10


async def newest(upgrades: Upgrades, room_id: RoomId) -> RoomId:
    """The one that has replaced it, if any: the setting is to be changed then."""
    if (found := await upgrades.newest(room_id)) != room_id:
        log.warning("the control room was replaced: set CONTROL_ROOM=%s", found)
    return found


class ControlRoom:
    """Of `room_id`; where that is empty, nobody is told anything."""

    def __init__(self, room_id: RoomId, outbox: Outbox, progress: Progress, send: Send) -> None:
        """`send` says something at once, past the outbox."""
        self.room_id = room_id
        """Another one when that was replaced."""
        self._outbox = outbox
        self._progress = progress
        self._send = send

    async def tell(self, markdown: str, *, once: str | None = None, quietly: bool = True) -> None:
        """Say something there; what has the same `once` is said once. Not `quietly`: clients ring for it."""
        if drafts := self.drafts(markdown, once=once, quietly=quietly):
            await self._outbox.put(drafts)
            self._progress.wake()

    def drafts(self, markdown: str, *, once: str | None = None, quietly: bool = True) -> Sequence[Draft]:
        """What `tell` would write, for a transaction that has more in it."""
        if not self.room_id:
            return []
        content = render.content(markdown, notice=quietly) | ({} if quietly else {TOLD: True})
        return [Draft(self.room_id, content, once=once)]

    def moved(self, old: RoomId, new: RoomId) -> None:
        """A room was replaced: it may have been this one."""
        if self.room_id == old:
            log.warning("the control room was replaced: set CONTROL_ROOM=%s", new)
            self.room_id = new

    async def watch(self, kept: logs.Logs) -> None:
        """Tell of failures that are logged, until cancelled: at most one message in QUIET_SECONDS.

        That the disk is full cannot be kept in the outbox: it is said past it.
        """
        if not self.room_id:
            return
        failures = _Failures(self.room_id, kept.redact)
        logging.getLogger().addHandler(failures)
        try:
            while True:
                await failures.come.wait()
                await asyncio.sleep(GATHER_SECONDS)
                text = failures.take()
                try:
                    await self.tell(text, quietly=False)
                except StateError:
                    await self._say_at_once(text)
                await asyncio.sleep(QUIET_SECONDS)
        finally:
            logging.getLogger().removeHandler(failures)

    async def _say_at_once(self, markdown: str) -> None:
        try:
            content = render.content(markdown, notice=False) | {TOLD: True}
            await self._send(self.room_id, "m.room.message", content, f"roommate-now-{secrets.token_hex(8)}")
        except MatrixError as error:
            log.warning("operators were not told of a failure: %s", error)


class _Failures(logging.Handler):
    """Collects the log lines of failures, equal ones as one; not what could not be sent into `room_id` itself."""

    def __init__(self, room_id: RoomId, redact: Redaction) -> None:
        super().__init__(logging.ERROR)
        self.come = asyncio.Event()
        self._room_id = room_id
        self._redact = redact
        self._loop = asyncio.get_running_loop()
        self._lines: Counter[str] = Counter()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, logs.NOT_SENT_INTO, "") == self._room_id:
            return
        line = logs.said(record)
        if record.exc_info and record.exc_info[1] is not None:
            line += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        line = self._redact(line)[:300]
        if line in self._lines or len(self._lines) < LINES:
            self._lines[line] += 1
        else:
            self._left_out += 1
        self._loop.call_soon_threadsafe(self.come.set)

    def take(self) -> str:
        """What was collected, as Markdown: at least one line, where `come` is set."""
        self.acquire()
        try:
            lines, left_out = self._lines, self._left_out
            self._lines, self._left_out = Counter(), 0
            self.come.clear()
        finally:
            self.release()
        shown = [f"{line} (×{count})" if count > 1 else line for line, count in lines.items()]
        more = f"\n\n… and {left_out} more; the log has them." if left_out else ""
        return "⚠️ Something failed:\n\n" + block("\n".join(shown)) + more
