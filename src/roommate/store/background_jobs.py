"""Background jobs whose end is to be told to the conversation that began them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import EventId, Incoming, RoomId, UserId
from roommate.store.database import Database
from roommate.store.messages_to_running_turn import adding


@dataclass(frozen=True, slots=True)
class WatchedJob:
    """`job_id` is the hand's; `sender` asked for the turn that began it, at `started` (seconds since 1970)."""

    room_id: RoomId
    job_id: str
    thread: EventId | None
    sender: UserId
    started: float


class WatchedJobs:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def watch(self, job: WatchedJob) -> None:
        row = (job.room_id, job.job_id, job.thread or "", job.sender, job.started)
        query = """INSERT OR REPLACE INTO background_jobs (room_id, job_id, thread, sender, started)
                   VALUES (?, ?, ?, ?, ?)"""
        await self._db.run(lambda c: c.execute(query, row))

    async def rooms(self) -> Sequence[RoomId]:
        """Where there are some, of the rooms that the bot is in."""
        query = """SELECT DISTINCT room_id FROM background_jobs
                   WHERE room_id IN (SELECT room_id FROM rooms WHERE membership = 'join')"""
        return [RoomId(room) for (room,) in await self._db.rows(query)]

    async def of(self, room_id: RoomId) -> Sequence[WatchedJob]:
        """Those of a room that the bot is in, the oldest first."""
        query = """SELECT job_id, thread, sender, started FROM background_jobs
                   WHERE room_id = ? AND room_id IN (SELECT room_id FROM rooms WHERE membership = 'join')
                   ORDER BY started"""
        rows = await self._db.rows(query, room_id)
        return [
            WatchedJob(room_id, job, EventId(thread) if thread else None, UserId(sender), started)
            for job, thread, sender, started in rows
        ]

    async def over(self, room_id: RoomId, jobs: Sequence[str], said: Sequence[Incoming] = ()) -> None:
        """These are not watched any more, and this is `said` of them: together, so that it is said once."""

        def work(c: sqlite3.Connection) -> None:
            query = "DELETE FROM background_jobs WHERE room_id = ? AND job_id = ?"
            c.executemany(query, [(room_id, job) for job in jobs])
            for line in said:
                adding(line)(c)

        await self._db.run(work)
