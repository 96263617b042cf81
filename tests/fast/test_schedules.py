"""Something is asked later, or again and again: seen in the room, by who set it, once."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path

import pytest

import roommate.daemon
from roommate.domain import (
    SAID,
    Draft,
    EventId,
    Incoming,
    Message,
    RoomId,
    RoomState,
    SyncBatch,
    UserId,
)
from roommate.store import Database, Inbox, Outbox, Schedules
from roommate.store.schedules import Schedule, adding
from tests.conftest import PASSWORD
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.model import MemoryModel
from tests.fakes.mortal import MortalDaemon, MortalDatabase
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import command, notice
from tests.patience import until
from tests.person import Person, Shown


def due_now(bot: MemoryDaemon, seconds: float = 1.0) -> None:
    """As if the time of every schedule had come, so many seconds ago."""
    with sqlite3.connect(bot.state / "roommate.db") as database:
        database.execute("UPDATE schedules SET next = ?", (time.time() - seconds,))
    database.close()


def told_in(bot: MemoryDaemon, who: Person, room: str) -> Shown | None:
    return next((one for one in bot.said(who, room) if SAID in one.content), None)


async def test_once_later(bot: MemoryDaemon, person: MakePerson, model: MemoryModel) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    await notice(bot, alice, room, "Hello")
    reply = (await command(bot, alice, room, "!at +1s SAY it is time")).body
    assert re.fullmatch(r"⏰ Schedule \d+: once, \w{3} 20[-\d]+ [:\d]+ \(.+\)\. `!schedules` shows all\.", reply)
    told = await alice.wait(lambda: told_in(bot, alice, room))
    assert told is not None
    assert "alice" in told.body
    answer = await alice.answer_to(told.event_id)
    assert answer.body == "it is time"
    assert model.asked[-1].prompt.endswith("SAY it is time")
    assert "Nothing is scheduled" in (await command(bot, alice, room, "!schedules")).body


async def test_again_and_again_paused_dropped_and_kept_over_a_restart(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, TIME_ZONE="Europe/Berlin")
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    assert "every weekday 9:00" in (await command(bot, alice, room, "!every weekday 9:00 SAY good morning")).body
    listed = (await command(bot, alice, room, "!schedules")).body
    assert "SAY good morning" in listed
    assert "09:00 (Europe/Berlin)" in listed
    # Missed while it was down: asked once, and the room reads when it was due.
    await bot.term()
    due_now(bot, 3600)
    await bot.start()
    told = await alice.wait(lambda: told_in(bot, alice, room))
    assert told is not None
    assert "due 60 min ago" in told.body
    assert (await alice.answer_to(told.event_id)).body == "good morning"
    assert len([one for one in bot.said(alice, room) if "due 60 min ago" in one.body]) == 1
    assert "is paused" in (await command(bot, alice, room, "!schedules pause 1")).body
    assert "⏸" in (await command(bot, alice, room, "!schedules")).body
    assert "no schedule 1" in (await command(bot, alice, room, "!schedules pause 1")).body
    assert "goes on" in (await command(bot, alice, room, "!schedules resume 1")).body
    assert "is dropped" in (await command(bot, alice, room, "!schedules drop 1")).body
    assert "no schedule 1" in (await command(bot, alice, room, "!schedules drop 1")).body
    assert "Every 5 minutes is the most often" in (await command(bot, alice, room, "!every 1 minute SAY x")).body


async def test_who_may_not_any_more_has_no_schedules(daemon: MakeDaemon, person: MakePerson) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    bot = await daemon(OPERATORS=alice.user_id)
    room = await bot.room_with(alice, mallory)
    await notice(bot, alice, room, "Hello")
    await command(bot, mallory, room, "!every hour SAY tick")
    await bot.term()
    due_now(bot)
    bot.settings["ALLOWED_USERS"] = alice.user_id
    await bot.start()
    await until(lambda: "may ask for nothing any more" in bot.log_text(), "the schedule to be dropped")
    assert "Nothing is scheduled" in (await command(bot, alice, room, "!schedules")).body
    assert told_in(bot, alice, room) is None


async def test_a_command_behind_a_dollar_asks_no_model(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = len(model.asked)
    answer = await alice.ask(room, "$ echo from the shell; exit 3")
    assert "from the shell" in answer.body
    assert "3" in answer.body
    await command(bot, alice, room, "!at +1s $ echo later")
    told = await alice.wait(lambda: told_in(bot, alice, room))
    assert told is not None
    assert "later" in (await alice.answer_to(told.event_id)).body
    assert len(model.asked) == asked
    await alice.ask(room, "SAY and the model knows of it")
    assert "from the shell" in json.dumps(model.asked[-1].messages)


async def test_what_a_crash_left_between_telling_and_asking_is_asked_once(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    room, alice = RoomId("!r"), UserId("@alice:x")
    await Inbox(database).commit(SyncBatch("s", (RoomState(room, "join", joined=2),), ()))
    schedules, outbox = Schedules(database), Outbox(database)
    wanted = Schedule(0, room, None, alice, "SAY x", "once", "", "UTC", 1.0, paused=False)
    await Inbox(database).do(adding(wanted, 9))
    [schedule] = await schedules.due(2.0)
    assert await schedules.tell(schedule, Draft(room, {"body": "now"}), None)
    assert not await schedules.tell(schedule, Draft(room, {"body": "now"}), None), "told twice"
    [said] = await schedules.said()  # as after a restart
    [row] = await outbox.unsent()
    assert row.id == said.row
    asked = Incoming(EventId("$now"), room, alice, 1, Message("SAY x"))
    for _ in range(2):
        await schedules.ask(said, asked)
    assert [one.incoming for one in await Inbox(database).waiting(room)] == [asked]
    assert not await schedules.said()
    assert not await schedules.of(room)
    await database.close()


async def test_one_that_still_waits_is_not_asked_twice(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    busy = await alice.say(room, "STALL")
    await command(bot, alice, room, "!every hour SAY tick")
    for _ in range(3):
        due_now(bot)
        await command(bot, alice, room, "!at +900s SAY far")  # it looks again
    await alice.say(room, "!stop")
    await alice.answer_to(busy)
    await alice.wait(lambda: any(one.body == "tick" for one in bot.said(alice, room)), what="the tick")
    assert sum(SAID in one.content and "tick" in one.body for one in bot.said(alice, room)) == 1


async def test_on_a_full_disk_it_waits_for_room(
    homeserver: MemoryHomeserver, person: MakePerson, model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roommate.daemon, "Database", MortalDatabase)
    alice = await person("alice")
    bot = await MortalDaemon(homeserver, homeserver.register("full-disk", PASSWORD), model).start()
    try:
        room = await bot.room_with(alice)
        await notice(bot, alice, room, "Hello")
        await command(bot, alice, room, "!at +1s SAY there is room")
        bot.life.disk_is_full = True
        await until(lambda: "did not take this" in bot.log_text(), "what cannot be stored")
        bot.life.disk_is_full = False
        told = await alice.wait(lambda: told_in(bot, alice, room))
        assert told is not None
        assert (await alice.answer_to(told.event_id)).body == "there is room"
    finally:
        await bot.discard()
