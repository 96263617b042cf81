"""A room's tokens of a day: counted, told, and the end of them, which a restart does not change."""

from __future__ import annotations

import sqlite3

from roommate.domain import RoomId, Usage
from roommate.store import AgentUsages, Database
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_operations import found
from tests.harness import command, notice, tool

USED_UP = "tokens of today"


def yesterday(bot: MemoryDaemon) -> None:
    """As if all that was spent had been spent a day ago."""
    with sqlite3.connect(bot.state / "roommate.db") as database:
        database.execute("UPDATE tokens_spent SET quarter = quarter - 96")
    database.close()


async def test_told_when_little_is_left_and_at_the_end_over_a_restart(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    ann = await person("ann")
    bot = await daemon(model=model, OPERATORS=ann.user_id, ROOM_TOKENS_PER_DAY="1000")
    room, other = await bot.room_with(ann), await bot.room_with(ann)
    await notice(bot, ann, room, "Hello")
    assert (await ann.ask(room, "USAGE 700 99\nSAY one")).body.startswith("one")
    assert not [one for one in bot.said(ann, room) if USED_UP in one.body]
    assert (await ann.ask(room, "USAGE 1 1\nSAY two")).body.startswith("two")
    soon = await notice(bot, ann, room, "801 of their")
    assert "UTC" in soon.body
    assert (await ann.ask(room, "USAGE 150 0\nSAY three")).body.startswith("three")

    # What a turn has begun it ends at its next step: no call is cut off, and its results are kept.
    step = tool("run_command", command="echo kept > file.txt")
    ended = await ann.ask(room, f"USAGE 200 0\n{step}\n---\nSAY never")
    assert ended.body.startswith("This room's models have had")
    assert "!room set tokens 2000" in ended.body
    assert next((bot.state / "rooms").glob("*/files/workspace/file.txt")).read_text() == "kept\n"
    asked = len(model.asked)
    await bot.term()
    await bot.start()
    assert (await ann.ask(room, "SAY four")).body.startswith("This room's models have had")
    assert len(model.asked) == asked
    assert "still here" in (await ann.ask(room, "$ echo still here")).body  # which asks no model
    assert (await ann.ask(other, "USAGE 9 9\nSAY mine")).body.startswith("mine"), "nobody pays for another room"
    assert sum("of their" in one.body for one in bot.said(ann, room)) == 1, "told once"
    usages = {one["room_id"]: (one["today"], one["a_day"]) for one in await found(bot, "usage")}
    assert usages == {room: (1151, 1000), other: (18, 1000)}

    await command(bot, ann, room, "!room set tokens 5000")
    assert (await ann.ask(room, "USAGE 1 1\nSAY five")).body.startswith("five")
    await command(bot, ann, room, "!room unset tokens")
    assert (await ann.ask(room, "SAY six")).body.startswith("This room's models have had")
    yesterday(bot)
    assert (await ann.ask(room, "USAGE 1 1\nSAY seven")).body.startswith("seven")
    await command(bot, ann, other, "!room set tokens 0")
    assert (await ann.ask(other, "USAGE 5000 1\nSAY eight")).body.startswith("eight")
    assert (await ann.ask(other, "USAGE 5000 1\nSAY nine")).body.startswith("nine")


async def test_what_coding_agents_take_is_of_the_same_budget(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    ann = await person("ann")
    bot = await daemon(model=model, ROOM_TOKENS_PER_DAY="1000")
    room = await bot.room_with(ann)
    await notice(bot, ann, room, "Hello")
    await bot.term()
    database = Database.open(bot.state)
    await AgentUsages(database).count(RoomId(room), "claude", "m", Usage(900, 200, cached_tokens=500))
    [used] = await AgentUsages(database).of(RoomId(room))
    assert used.usage == Usage(900, 200, cached_tokens=500)
    await database.close()
    await bot.start()
    asked = len(model.asked)
    assert (await ann.ask(room, "SAY no")).body.startswith("This room's models have had")
    assert len(model.asked) == asked
