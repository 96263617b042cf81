"""Background jobs of all rooms: when one ends, the conversation that began it is told, with how and the end of its log.

A turn that runs there reads it before its model is asked next; else it is a prompt of its own. What is watched is rows:
a start goes on with them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from roommate import logs
from roommate.domain import EventId, Hand, Incoming, Job, Message, RoomId
from roommate.errors import HandLost, SandboxError, StateError, ToolError
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.store import Turn, WatchedJob, WatchedJobs
from roommate.store.messages_to_running_turn import named
from roommate.text.printable import one_line
from roommate.tools.command_tools import log_end, state

log = logging.getLogger(__name__)

SOONEST, LATEST = 0.25, 5.0
"""Seconds between two looks: the longer nothing ends, the longer."""
TOGETHER = 1.0
"""Seconds that are waited for others that end at the same time: they are one line."""
TAIL = 2000
"""Bytes of a log's end."""
LONGEST_COMMAND = 200
RETRY_SECONDS = 30.0


class BackgroundJobs:
    """`run` it; `wake` tells a room that something waits there."""

    def __init__(self, rows: WatchedJobs, sandboxes: Sandboxes, wake: Callable[[RoomId], None]) -> None:
        self._rows, self._sandboxes, self._wake = rows, sandboxes, wake
        self._watched: dict[RoomId, asyncio.Event] = {}
        """By room that is looked at: set when there is one more."""
        self._news = asyncio.Event()

    def of(self, turn: Turn) -> TurnJobs:
        return TurnJobs(self, turn)

    async def begin(self, job: WatchedJob) -> None:
        await self._rows.watch(job)
        if job.room_id in self._watched:
            self._watched[job.room_id].set()
        self._news.set()

    async def forget(self, room_id: RoomId, job_id: str) -> None:
        await self._rows.over(room_id, [job_id])

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for room_id in await self._rows.rooms():
                    if room_id not in self._watched:
                        self._watched[room_id] = asyncio.Event()
                        tasks.create_task(self._watch(room_id))
                await self._news.wait()

    async def _watch(self, room_id: RoomId) -> None:
        """Until nothing is left to be told of."""
        logs.about(room=room_id)
        pause = SOONEST
        try:
            while watched := await self._rows.of(room_id):
                try:
                    told = await self._look(room_id, watched)
                except (SandboxError, ToolError, StateError) as error:  # a hand refuses nothing here; a liar may
                    log.warning("background jobs are not looked at: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                more = self._watched[room_id]
                pause = SOONEST if told or more.is_set() else min(pause * 1.5, LATEST)
                more.clear()
                await asyncio.sleep(pause)
        finally:
            del self._watched[room_id]
        self._news.set()  # one may have begun in between

    async def _look(self, room_id: RoomId, watched: Sequence[WatchedJob]) -> bool:
        """Tell of those that have ended; False where none has. Raises SandboxError, ToolError, StateError."""
        try:
            hand = await self._sandboxes.hand(room_id)
            jobs = await _by_id(hand)
            if all(one.job_id in jobs and jobs[one.job_id].exit is None for one in watched):
                return False
            await asyncio.sleep(TOGETHER)
            jobs = await _by_id(hand)
            over = [one for one in await self._rows.of(room_id) if not _runs(jobs.get(one.job_id))]
            threads: dict[EventId | None, list[WatchedJob]] = {}
            for one in over:
                if one.job_id in jobs:  # else it went with the files of the room
                    threads.setdefault(one.thread, []).append(one)
            said = [await _line(hand, jobs, ended) for ended in threads.values()]
        except HandLost:
            return True  # look again, at the next one
        await self._rows.over(room_id, [one.job_id for one in over], said)
        if said:
            self._wake(room_id)
        return True


class TurnJobs:
    """Those of one turn; implements tools.tool.Jobs."""

    def __init__(self, jobs: BackgroundJobs, turn: Turn) -> None:
        self._jobs, self._turn = jobs, turn

    async def watch(self, job: Job) -> None:
        turn = self._turn
        await self._jobs.begin(WatchedJob(turn.room_id, job.id, turn.thread, turn.asked_by, time.time()))

    async def known(self, job_id: str) -> None:
        await self._jobs.forget(self._turn.room_id, job_id)


async def _by_id(hand: Hand) -> Mapping[str, Job]:
    return {job.id: job for job in await hand.jobs()}


def _runs(job: Job | None) -> bool:
    return job is not None and job.exit is None


async def _line(hand: Hand, jobs: Mapping[str, Job], ended: Sequence[WatchedJob]) -> Incoming:
    first, parts = ended[0], []
    for one in ended:
        job = jobs[one.job_id]
        try:
            end = await log_end(job, hand, TAIL)
        except ToolError:  # the room has deleted it
            end = ""
        head = f"[Background command {job.id} {state(job)}: {one_line(job.command, LONGEST_COMMAND)}]"
        parts.append(f"{head}\n{end.strip() or '(no output)'}")
    name = named(f"job:{first.room_id}:{first.job_id}:{first.started}")
    return Incoming(name, first.room_id, first.sender, int(time.time() * 1000), Message("\n".join(parts), first.thread))
