"""Schedules: what is to be asked in a room later, or again and again; and how one that is due becomes a prompt.

First the room is told that it is time, then that message becomes the prompt, as if who set it had said it: each in one
transaction, which also says when the next time is. So a crash anywhere asks once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roommate.domain import Draft, EventId, Incoming, RoomId, UserId
from roommate.store import outbox
from roommate.store.database import Database, Transaction, Work
from roommate.store.inbox import putting


@dataclass(frozen=True, slots=True)
class Schedule:
    """`cron` has five fields, and is empty for once; `words` is how people wrote when. `next` is seconds since 1970."""

    number: int
    room_id: RoomId
    thread: EventId | None
    who: UserId
    task: str
    words: str
    cron: str
    zone: str
    next: float
    paused: bool


@dataclass(frozen=True, slots=True)
class Said:
    """The room is told, in a row of the outbox, that a schedule is due."""

    schedule: Schedule
    row: int


_COLUMNS = "id, room_id, thread, who, task, words, cron, zone, next, paused"
_JOINED = "room_id IN (SELECT room_id FROM rooms WHERE membership='join')"


class Schedules:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def of(self, room_id: RoomId) -> Sequence[Schedule]:
        query = f"SELECT {_COLUMNS} FROM schedules WHERE room_id=? AND next IS NOT NULL ORDER BY id"  # noqa: S608
        return [_schedule(*row) for row in await self._db.rows(query, room_id)]

    async def soonest(self) -> float | None:
        """When the next one is due, in seconds since 1970."""
        query = f"SELECT min(next) FROM schedules WHERE NOT paused AND said IS NULL AND {_JOINED}"  # noqa: S608
        return (await self._db.row(query))[0]  # type: ignore[no-any-return]

    async def due(self, now: float) -> Sequence[Schedule]:
        query = f"""SELECT {_COLUMNS} FROM schedules WHERE NOT paused AND said IS NULL AND next <= ? AND {_JOINED}
                    ORDER BY next"""  # noqa: S608
        return [_schedule(*row) for row in await self._db.rows(query, now)]

    async def said(self) -> Sequence[Said]:
        """Those that rooms were told of, and that are no prompts yet."""
        query = f"SELECT {_COLUMNS}, said FROM schedules WHERE said IS NOT NULL"  # noqa: S608
        return [Said(_schedule(*row), said) for *row, said in await self._db.rows(query)]

    async def tell(self, schedule: Schedule, draft: Draft, following: float | None) -> bool:
        """Say in the room that it is time, which is `following` the next time; False where the last time still waits
        for its turn: then this one is left out."""

        def work(c: Transaction) -> bool:
            waits = """SELECT 1 FROM schedules JOIN inbox ON inbox.event_id = schedules.event_id
                       WHERE schedules.id=? AND inbox.state != 'done'"""
            still = c.execute(waits, (schedule.number,)).fetchone() is not None
            due = c.execute(
                "UPDATE schedules SET next=? WHERE id=? AND next=? AND said IS NULL AND NOT paused",
                (following, schedule.number, schedule.next),
            )
            if not due.rowcount or still:
                return False
            [row] = outbox.insert(c, [draft])
            c.execute("UPDATE schedules SET said=? WHERE id=?", (row, schedule.number))
            return True

        return await self._db.run(work)

    async def drop(self, schedule: Schedule) -> None:
        await self._db.run(dropping(schedule.room_id, schedule.number))

    async def ask(self, said: Said, incoming: Incoming | None) -> None:
        """What the room was told is the prompt now; without one it could not be told."""

        def work(c: Transaction) -> None:
            event = incoming.event_id if incoming else None
            found = c.execute(
                "UPDATE schedules SET said=NULL, event_id=? WHERE id=? AND said=?",
                (event, said.schedule.number, said.row),
            )
            if found.rowcount and incoming:
                putting(incoming)(c)
            c.execute("DELETE FROM schedules WHERE next IS NULL AND said IS NULL")

        await self._db.run(work)


def adding(schedule: Schedule, most: int) -> Work[int | None]:
    """Add it, and give its number; None where the room has `most` of them already."""

    def work(c: Transaction) -> int | None:
        if c.execute("SELECT count(*) FROM schedules WHERE room_id=?", (schedule.room_id,)).fetchone()[0] >= most:
            return None
        row = (schedule.room_id, schedule.thread, schedule.who, schedule.task, schedule.words, schedule.cron)
        return c.execute(
            """INSERT INTO schedules (room_id, thread, who, task, words, cron, zone, next, created)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*row, schedule.zone, schedule.next, time.time()),
        ).lastrowid

    return work


def dropping(room_id: RoomId, number: int) -> Work[bool]:
    """False when the room has no such schedule."""
    return lambda c: c.execute("DELETE FROM schedules WHERE room_id=? AND id=?", (room_id, number)).rowcount > 0


def pausing(room_id: RoomId, number: int, paused: bool, following: Callable[[str, str], float]) -> Work[bool]:
    """Hold it back, or let it go on with its next time from now on. False when there is nothing to change."""

    def work(c: Transaction) -> bool:
        found = c.execute(
            "UPDATE schedules SET paused=? WHERE room_id=? AND id=? AND paused!=?", (paused, room_id, number, paused)
        )
        if found.rowcount and not paused:
            cron, zone = c.execute("SELECT cron, zone FROM schedules WHERE id=?", (number,)).fetchone()
            if cron:
                c.execute("UPDATE schedules SET next=? WHERE id=?", (following(cron, zone), number))
        return found.rowcount > 0

    return work


def _schedule(
    number: int, room: str, thread: str | None, who: str, task: str, words: str, cron: str, zone: str, *rest: float
) -> Schedule:
    due, paused = rest
    where = RoomId(room), EventId(thread) if thread else None
    return Schedule(number, *where, UserId(who), task, words, cron, zone, due, bool(paused))
