"""Times as people write them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.errors import Misused
from roommate.features.schedules.time_words import at, every, following

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=BERLIN).timestamp()  # a Friday


def shown(seconds: float, zone: str = "Europe/Berlin") -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%a %Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("text", "cron", "first"),
    [
        ("weekday 9:00 run the tests", "0 9 * * 1-5", "Mon 2026-11-23 09:00"),
        ("day at 3pm run the tests", "0 15 * * *", "Fri 2026-11-20 15:00"),
        ("monday, thursdays 14:30 run the tests", "30 14 * * 1,4", "Mon 2026-11-23 14:30"),
        ("sun 8:05 run the tests", "5 8 * * 0", "Sun 2026-11-22 08:05"),
        ("weekend 10:00 run the tests", "0 10 * * 6,0", "Sat 2026-11-21 10:00"),
        ("15 minutes run the tests", "*/15 * * * *", "Fri 2026-11-20 12:15"),
        ("hour run the tests", "0 */1 * * *", "Fri 2026-11-20 13:00"),
        ("0 9 * * 1-5 run the tests", "0 9 * * 1-5", "Mon 2026-11-23 09:00"),
        ("30 6 1 * * run the tests", "30 6 1 * *", "Tue 2026-12-01 06:30"),
        ("0 0 * * mon-fri run the tests", "0 0 * * mon-fri", "Mon 2026-11-23 00:00"),
    ],
)
def test_again_and_again(text: str, cron: str, first: str) -> None:
    when, task = every(text, "Europe/Berlin", NOW)
    assert (when.cron, task, shown(when.next)) == (cron, "run the tests", first)
    assert when.words == f"every {text.removesuffix(' run the tests')}"


def test_a_zone_of_its_own() -> None:
    when, task = every("day 9:00 Asia/Tokyo $ make backup", "Europe/Berlin", NOW)
    assert (when.zone, task, shown(when.next, "Asia/Tokyo")) == ("Asia/Tokyo", "$ make backup", "Sat 2026-11-21 09:00")


@pytest.mark.parametrize(("word", "zone"), [("CET", "CET"), ("EST5EDT", "EST5EDT"), ("UTC", "UTC"), ("Iran", "")])
def test_a_zone_may_be_a_word_and_a_country_is_none(word: str, zone: str) -> None:
    when, task = every(f"day 9:00 {word} news", "Europe/Berlin", NOW)
    assert (when.zone, task) == ((zone, "news") if zone else ("Europe/Berlin", f"{word} news"))


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("14:30 go", "Fri 2026-11-20 14:30"),
        ("9:00 go", "Sat 2026-11-21 09:00"),
        ("tomorrow 9am go", "Sat 2026-11-21 09:00"),
        ("friday at 11:00 go", "Fri 2026-11-27 11:00"),
        ("2026-12-24 18:00 go", "Thu 2026-12-24 18:00"),
        ("+2h go", "Fri 2026-11-20 14:00"),
        ("in 90 minutes go", "Fri 2026-11-20 13:30"),
        ("tomorrow 9:00 UTC go", "Sat 2026-11-21 10:00"),
    ],
)
def test_once(text: str, due: str) -> None:
    when, task = at(text, "Europe/Berlin", NOW)
    assert (task, when.cron, shown(when.next)) == ("go", "", due)


@pytest.mark.parametrize(
    "text",
    [
        "", "weekday", "weekday 9:00", "weekday 25:00 x", "someday 9:00 x", "7 minutes x", "0 minutes x",
        "61 * * * * x", "0 9 31 2 * x", "* * * * * x", "2 minutes x", "9:00 x",
    ],
)  # fmt: skip
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(Misused):
        every(text, "UTC", NOW)


@pytest.mark.parametrize("text", ["", "x", "14:30", "today 9:00 x", "2026-13-01 9:00 x", "1999-01-01 9:00 x", "25 x",
                                  "9999-12-31 23:59 America/New_York x"])  # fmt: skip
def test_what_is_no_moment_is_said(text: str) -> None:
    with pytest.raises(Misused):
        at(text, "Europe/Berlin", NOW)


@pytest.mark.parametrize("cron", ["0,1 12 * * *", "0,57 * * * *", "59 12 * * *", "0-59 12 * * *", "0,59 9,10 * * *"])
@pytest.mark.parametrize("minute", [0, 30, 58])
def test_too_often_is_said_whenever_it_is_set(cron: str, minute: int) -> None:
    """Also where the next two times are far from each other."""
    if cron == "59 12 * * *":
        assert every(f"{cron} x", "Europe/Berlin", NOW + 60 * minute)[0].cron == cron
        return
    with pytest.raises(Misused, match="the most often"):
        every(f"{cron} x", "Europe/Berlin", NOW + 60 * minute + 30)


def test_a_time_of_any_length_is_no_time() -> None:
    """Cron takes each number as often as it likes, and all of it is read, kept and shown."""
    with pytest.raises(Misused, match="characters of when"):
        every(f"0 0 {'1,' * 20_000}1 2 * x", "UTC", NOW)
    assert every(f"0 0 {','.join(map(str, range(1, 32)))} * * x", "UTC", NOW)[0].next


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    for read in (every, at):
        try:
            read(text, "UTC", NOW)
        except Misused as error:
            assert "\n" not in str(error)


def test_a_change_of_the_clock_neither_doubles_nor_leaves_out_a_run() -> None:
    for month, day in ((3, 28), (10, 24)):
        after = datetime(2026, month, day, 12, tzinfo=BERLIN).timestamp()
        first = following("30 2 * * *", "Europe/Berlin", after)
        second = following("30 2 * * *", "Europe/Berlin", first)
        assert shown(first)[4:14] == f"2026-{month:02}-{day + 1}"
        assert shown(second)[4:14] == f"2026-{month:02}-{day + 2}"
