"""What people say of schedules: set, list, pause, drop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from roommate.domain import EventId, UserId
from roommate.errors import Misused
from roommate.features.schedules import time_words
from roommate.features.schedules.time_words import When
from roommate.operations import Call, Change, OfRoom, Unchanged, Who, operation
from roommate.settings.config import Settings
from roommate.store import Transaction
from roommate.store.schedules import Schedule, Schedules, adding, dropping, pausing
from roommate.text.printable import plain, span

MOST = 20
"""Schedules of a room."""
LONGEST_TASK = 4000


class Wanted(OfRoom):
    text: Annotated[str, Field(min_length=1, title="WHEN TEXT", description="When, and what is to be asked then.")]


class Numbered(OfRoom):
    number: Annotated[int, Field(title="N", description="Its number.")]


@dataclass(frozen=True, slots=True)
class Set:
    """`next` is a time with its zone, as ISO 8601 has it."""

    number: int
    words: str
    next: str
    zone: str
    task: str


@dataclass(frozen=True, slots=True)
class Listed(Set):
    who: UserId
    paused: bool


@dataclass(frozen=True, slots=True)
class Changed:
    number: int
    found: bool


def _when(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%a %Y-%m-%d %H:%M}"


def _next(one: Set) -> str:
    """Empty where the words say it, as those of what is asked once do."""
    next_time = f"{_when(one.next)} ({one.zone})"
    return "" if next_time in one.words else next_time


def _set(one: Set) -> str:
    due = f" The next time is {_next(one)}." if _next(one) else ""
    return f"⏰ Schedule {one.number}: {plain(one.words)}.{due} `!schedules` shows all."


def _list(found: Sequence[Listed]) -> str:
    rows = [
        f"- **{one.number}** {'⏸ ' if one.paused else ''}{plain(one.words)}: {span(_short(one.task))}"
        f" — {'paused, ' if one.paused else f'next {_next(one)}, ' if _next(one) else ''}for {plain(one.who)}"
        for one in found
    ]
    hint = "`!schedules pause N`, `!schedules resume N`, `!schedules drop N`"
    return (
        "\n".join([*rows, "", hint])
        if rows
        else f"Nothing is scheduled in this room. Set something: {time_words.EVERY}."
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def _changed(does: str) -> Callable[[Changed], str]:
    return lambda done: (
        f"Schedule {done.number} {does}." if done.found else f"There is no schedule {done.number} for that."
    )


class ScheduleOperations:
    def __init__(self, schedules: Schedules, settings: Callable[[], Settings], news: Callable[[], None]) -> None:
        """`news` is called when there is another next time."""
        self._schedules, self._settings, self._news = schedules, settings, news

    @operation("schedules.every", reads=_set, who=Who.ANYONE, audit="schedule", chat="every", cli="schedules every")
    async def every(self, params: Wanted, call: Call) -> Change[Set]:
        """Asks something again and again: `weekday 9:00 run the tests`, or `day 3:00 $ COMMAND` without a model."""
        return self._adding(time_words.every(params.text, self._settings().time_zone, time.time()), call)

    @operation("schedules.at", reads=_set, who=Who.ANYONE, audit="schedule", chat="at", cli="schedules at")
    async def at(self, params: Wanted, call: Call) -> Change[Set]:
        """Asks something once, later: `tomorrow 9:00 run the tests`, `+2h say how it went`."""
        return self._adding(time_words.at(params.text, self._settings().time_zone, time.time()), call)

    @operation("schedules.list", reads=_list, who=Who.ANYONE, chat="schedules", cli="schedules list")
    async def list(self, params: OfRoom, call: Call) -> Sequence[Listed]:
        """Shows what is scheduled in a room."""
        return [
            Listed(one.number, one.words, _iso(one.next, one.zone), one.zone, one.task, one.who, one.paused)
            for one in await self._schedules.of(call.its_room)
        ]

    @operation(
        "schedules.pause",
        reads=_changed("is paused"),
        who=Who.ANYONE,
        audit="schedule.pause",
        subject=lambda params: f"{params.number}",
        chat="schedules pause",
        cli="schedules pause",
    )
    async def pause(self, params: Numbered, call: Call) -> Change[Changed]:
        """Holds a schedule back."""
        return self._change(params, pausing(call.its_room, params.number, True, self._following))

    @operation(
        "schedules.resume",
        reads=_changed("goes on"),
        who=Who.ANYONE,
        audit="schedule.resume",
        subject=lambda params: f"{params.number}",
        chat="schedules resume",
        cli="schedules resume",
    )
    async def resume(self, params: Numbered, call: Call) -> Change[Changed]:
        """Lets a schedule go on that was held back."""
        return self._change(params, pausing(call.its_room, params.number, False, self._following))

    @operation(
        "schedules.drop",
        reads=_changed("is dropped"),
        who=Who.ANYONE,
        audit="schedule.drop",
        subject=lambda params: f"{params.number}",
        chat="schedules drop",
        cli="schedules drop",
    )
    async def drop(self, params: Numbered, call: Call) -> Change[Changed]:
        """Forgets a schedule."""
        return self._change(params, dropping(call.its_room, params.number))

    def _adding(self, wanted: tuple[When, str], call: Call) -> Change[Set]:
        when, task = wanted
        if len(task) > LONGEST_TASK:
            raise Misused(f"That has {len(task)} characters, {LONGEST_TASK} is the most: put the rest into a file.")
        schedule = Schedule(
            0, call.its_room, EventId(call.thread) if call.thread else None, self._person(call), task,
            when.words, when.cron, when.zone, when.next, paused=False,
        )  # fmt: skip
        add = adding(schedule, MOST)

        def work(c: Transaction) -> Set:
            if (number := add(c)) is None:
                raise Misused(f"This room has {MOST} schedules already: `!schedules drop N` makes room.")
            return Set(number, when.words, _iso(when.next, when.zone), when.zone, task)

        return Change(work, self._tell)

    def _change(self, params: Numbered, work: Callable[[Transaction], bool]) -> Change[Changed]:
        def changing(c: Transaction) -> Changed | Unchanged[Changed]:
            found = work(c)
            return Changed(params.number, True) if found else Unchanged(Changed(params.number, False))

        return Change(changing, self._tell)

    def _person(self, call: Call) -> UserId:
        """Who it is asked for: who says it, or from the host the first operator. Raises Misused."""
        if call.name.startswith("@"):
            return UserId(call.name)
        for one in self._settings().operator_ids:
            return UserId(one)
        raise Misused("There is nobody to ask it for: set OPERATORS.")

    async def _tell(self) -> None:
        self._news()

    def _following(self, cron: str, zone: str) -> float:
        return time_words.following(cron, zone, time.time())


def _iso(seconds: float, zone: str) -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).isoformat(timespec="minutes")
