"""What is due is asked: the room is told, and that message is the prompt of who set it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from roommate.domain import SAID, Draft, Incoming, Message, RoomId, UserId
from roommate.errors import StateError
from roommate.features.schedules import time_words
from roommate.host import deadlines
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.rooms.messages_to_running_turn import STATE_RETRY_SECONDS, stored
from roommate.store import Outbox
from roommate.store.schedules import Said, Schedule, Schedules
from roommate.text.printable import plain

log = logging.getLogger(__name__)

LONGEST_SLEEP = 600.0
"""Seconds: a clock that was set, or a machine that slept, is noticed by then."""
LATE_SECONDS = 120.0
"""From so late on the room reads when it was due."""


class Due:
    """Run `run()`; call `look()` when there is another next time."""

    def __init__(
        self,
        schedules: Schedules,
        outbox: Outbox,
        progress: Progress,
        *,
        bot: UserId,
        name: Callable[[RoomId, str], Awaitable[str]],
        wake: Callable[[RoomId], None],
        allowed: Callable[[str], bool],
    ) -> None:
        """`allowed` tells who may ask the bot for something."""
        self._schedules, self._outbox, self._progress = schedules, outbox, progress
        self._bot, self._name, self._wake, self._allowed = bot, name, wake, allowed
        self._news = asyncio.Event()

    def look(self) -> None:
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as asking:
            for said in await self._schedules.said():  # what a crash left between telling and asking
                asking.create_task(self._ask(said))
            while True:
                self._news.clear()
                try:
                    for schedule in await self._schedules.due(time.time()):
                        await self._tell(schedule, asking)
                    soonest = await self._schedules.soonest()
                except StateError as error:  # a full disk, most likely: it is told when it has room
                    log.error("%s", error)
                    soonest = time.time() + STATE_RETRY_SECONDS
                sleep = LONGEST_SLEEP if soonest is None else min(max(soonest - time.time(), 0.0), LONGEST_SLEEP)
                try:
                    async with deadlines.within(sleep):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def _tell(self, schedule: Schedule, asking: asyncio.TaskGroup) -> None:
        if not self._allowed(schedule.who):
            log.warning("schedule %d is dropped: %s may ask for nothing any more", schedule.number, schedule.who)
            await self._schedules.drop(schedule)
            return
        now = time.time()
        who = await self._name(schedule.room_id, schedule.who)
        late = f" It was due {(now - schedule.next) / 60:.0f} min ago." if now - schedule.next > LATE_SECONDS else ""
        text = f"⏰ **{who}**, {plain(schedule.words)}:{late}\n\n{schedule.task}"
        content = render.content(text, notice=True, thread=schedule.thread)
        said = {"by": schedule.who, "text": schedule.task, "session": ""}
        following = time_words.following(schedule.cron, schedule.zone, now) if schedule.cron else None
        if await self._schedules.tell(schedule, Draft(schedule.room_id, content | {SAID: said}), following):
            log.info("schedule %d is due in %s", schedule.number, schedule.room_id)
            self._progress.wake()
            for one in await self._schedules.said():
                if one.schedule.number == schedule.number:
                    asking.create_task(self._ask(one))

    async def _ask(self, said: Said) -> None:
        schedule = said.schedule
        event = await stored(lambda: self._outbox.arrived(said.row))
        incoming = None
        if event is not None:
            message = Message(schedule.task, schedule.thread, mentions=(self._bot,), alone=True)
            incoming = Incoming(event, schedule.room_id, schedule.who, int(time.time() * 1000), message)
        await stored(lambda: self._schedules.ask(said, incoming))
        self._wake(schedule.room_id)
        self.look()
