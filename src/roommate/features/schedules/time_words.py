"""When something is to be done, as people write it: ``weekday 9:00``, ``*/15 * * * *``, ``tomorrow 14:30``. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from roommate.errors import Misused

EVERY = (
    "`!every weekday 9:00 TEXT`, `!every monday,thursday 14:30 Europe/Berlin TEXT`, `!every 15 minutes TEXT`, "
    "`!every day 3:00 $ COMMAND`, or the five words of cron: `!every 0 9 * * 1-5 TEXT`"
)
AT = "`!at 14:30 TEXT`, `!at tomorrow 9:00 Europe/Berlin TEXT`, `!at 2026-12-24 18:00 TEXT`, `!at +2h TEXT`"

SHORTEST_SECONDS = 300.0
"""Between two runs: each may cost a turn of a model."""

LONGEST_WHEN = 200
"""Characters: the words are shown with each schedule of a room, and cron's fields are read each time."""

TIMES_LOOKED_AT = 60
"""As many times as an hour can have, so that a whole hour is among them."""

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SETS = {"day": "*", "weekday": "1-5", "weekend": "6,0"}
_CRON = re.compile(r"((?:[\d*][\d*/,-]*\s+){2}[\d*LW][\w*/,#-]*\s+(?:[\w*][\w*/,#-]*\s+){2})(.*)", re.DOTALL)
_REPEATED = re.compile(r"(?:(\d{1,4})\s+)?(minute|hour)s?\s+(.*)", re.DOTALL | re.IGNORECASE)
_ON_DAYS = re.compile(r"([A-Za-z]+(?:\s*,\s*[A-Za-z]+)*)\s+(?:at\s+)?(\S+)\s+(.*)", re.DOTALL)
_IN = re.compile(r"(?:\+\s*|in\s+)(\d{1,6})\s*(seconds?|s|minutes?|min|m|hours?|h|days?|d)\s+(.*)", re.DOTALL | re.I)
_ON = re.compile(
    r"(?:(today|tomorrow|\d{4}-\d\d-\d\d|[A-Za-z]+day)\s+)?(?:at\s+)?(\S+)\s+(.*)", re.DOTALL | re.IGNORECASE
)
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?\s*(am|pm)?", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class When:
    """`cron` is five fields, empty for once; `words` is how it was written; `next` in seconds since 1970."""

    cron: str
    zone: str
    words: str
    next: float


def every(text: str, zone: str, now: float) -> tuple[When, str]:
    """(when, what is to be done) of what stands behind ``!every``; `zone` is where none is named. Raises Misused."""
    cron, rest = _fields(text.strip())
    zone, task = _zone(rest, zone)
    if not task:
        raise Misused(f"What is to be done? {EVERY}.")
    written = text.strip()[: len(text.strip()) - len(task)].strip()
    if len(written) > LONGEST_WHEN:
        raise Misused(f"That has {len(written)} characters of when, {LONGEST_WHEN} is the most: {EVERY}.")
    first = following(cron, zone, now)
    if _shortest(cron, first) < SHORTEST_SECONDS:
        raise Misused(f"Every {SHORTEST_SECONDS / 60:.0f} minutes is the most often that I take.")
    return When(cron, zone, f"every {' '.join(written.split())}", first), task


def at(text: str, zone: str, now: float) -> tuple[When, str]:
    """(when, what is to be done) of what stands behind ``!at``. Raises Misused."""
    text = text.strip()
    if found := _IN.fullmatch(text):
        due, task = now + int(found[1]) * _UNITS[found[2][0].lower()], found[3]
    elif found := _ON.fullmatch(text):
        clock = _clock(found[2])
        zone, task = _zone(found[3], zone)
        due = _date(found[1], clock, ZoneInfo(zone), now)
    else:
        raise Misused(f"When, and what? {AT}.")
    if not task.strip():
        raise Misused(f"What is to be done? {AT}.")
    if due < now:
        raise Misused("That is over already.")
    try:
        shown = datetime.fromtimestamp(due, ZoneInfo(zone))
    except (ValueError, OverflowError):
        raise Misused("That is later than any calendar goes.") from None
    return When("", zone, f"once, {shown:%a %Y-%m-%d %H:%M} ({zone})", due), task.strip()


def following(cron: str, zone: str, after: float) -> float:
    """When it is the next time, in seconds since 1970; around a change of the clock as cron of Debian has it. Raises
    Misused where it never is."""
    try:
        return next(CronSim(cron, datetime.fromtimestamp(after, ZoneInfo(zone)))).timestamp()
    except (CronSimError, StopIteration) as error:
        raise Misused(f"That is no time that ever comes ({error or 'no such day'}): {EVERY}.") from error


def _shortest(cron: str, first: float) -> float:
    """Seconds between two of the next times, the shortest of some days: minutes that are close to each other may lie
    around the end of an hour, and hours around the end of a day."""
    shortest, before = math.inf, first
    for _ in range(TIMES_LOOKED_AT):
        time = following(cron, "UTC", before)  # its hours are all as long
        shortest, before = min(shortest, time - before), time
    return shortest


def is_zone(name: str) -> bool:
    """Not a country by its name, as some zones are called: with that begins what is to be done."""
    return ("/" in name or re.fullmatch(r"[A-Z]{3,}\d?[A-Z]*", name) is not None) and name in available_timezones()


def _fields(text: str) -> tuple[str, str]:
    """(cron's five fields, the rest)."""
    if found := _CRON.fullmatch(text):
        return " ".join(found[1].split()), found[2]
    if found := _REPEATED.fullmatch(text):
        count, minutes = int(found[1] or 1), found[2].lower() == "minute"
        if count < 1 or (60 if minutes else 24) % count:
            raise Misused(f"Every {count} {found[2]}s does not come out even: {EVERY}.")
        return (f"*/{count} * * * *" if minutes else f"0 */{count} * * *"), found[3]
    if found := _ON_DAYS.fullmatch(text):
        hour, minute = _clock(found[2])
        return f"{minute} {hour} * * {_days(found[1])}", found[3]
    raise Misused(f"When, and what? {EVERY}.")


def _days(text: str) -> str:
    numbers = []
    for word in (one.strip().lower() for one in text.split(",")):
        if (name := word.removesuffix("s")) in _SETS:
            numbers.append(_SETS[name])
            continue
        day = next((number for number, known in enumerate(_DAYS, 1) if known.startswith(name) and len(name) > 2), None)
        if day is None:
            raise Misused(f"{word!r} is no day that I know: {EVERY}.")
        numbers.append(str(day % 7))
    return ",".join(numbers)


def _clock(text: str) -> tuple[int, int]:
    """(hour, minute)."""
    if found := _CLOCK.fullmatch(text):
        hour, minute, half = int(found[1]), int(found[2] or 0), (found[3] or "").lower()
        if half and 1 <= hour <= 12:
            hour = hour % 12 + (12 if half == "pm" else 0)
        elif half:
            hour = 24
        if hour < 24 and minute < 60 and (found[2] or half):
            return hour, minute
    raise Misused(f"{text!r} is no time of the day, such as 9:00.")


def _zone(text: str, zone: str) -> tuple[str, str]:
    """(the zone, the rest): the one that is named first, else this one."""
    first, _, rest = text.strip().partition(" ")
    return (first, rest.strip()) if is_zone(first) else (zone, text.strip())


def _date(day: str | None, clock: tuple[int, int], zone: tzinfo, now: float) -> float:
    today = datetime.fromtimestamp(now, zone).replace(hour=clock[0], minute=clock[1], second=0, microsecond=0)
    word = (day or "").lower()
    if word == "tomorrow":
        return (today + timedelta(days=1)).timestamp()
    if word in _DAYS:
        ahead = (_DAYS.index(word) - today.weekday()) % 7
        return (today + timedelta(days=ahead + (7 if not ahead and today.timestamp() < now else 0))).timestamp()
    if word and word != "today":
        try:
            date = datetime.strptime(word, "%Y-%m-%d")
        except ValueError:
            raise Misused(f"{day!r} is no day that I know: {AT}.") from None
        return today.replace(year=date.year, month=date.month, day=date.day).timestamp()
    later = today if today.timestamp() > now or word == "today" else today + timedelta(days=1)
    return later.timestamp()
