"""Schedules over kill -9: each is asked once, and seen by a person at the homeserver."""

from __future__ import annotations

import asyncio
import random

from roommate.domain import SAID
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import notice
from tests.scripted_model import ScriptedModel

COUNT = 12


async def test_each_is_asked_once_whatever_is_killed(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    for number in range(COUNT):
        await alice.say(room, f"!at +{number // 3 + 1}s SAY tick {number}.")
    await alice.wait(lambda: sum("⏰ Schedule" in one.body for one in bot.said(alice, room)) == COUNT, what="them set")
    for _ in range(4):
        await asyncio.sleep(random.uniform(0.1, 0.8))
        await bot.kill9()
        await bot.start()
    ticks = [f"tick {number}." for number in range(COUNT)]

    def answered() -> list[str]:  # below one that a kill interrupted stands that it was
        return [one.body.partition("\n")[0] for one in alice.finals(room) if one.body.startswith("tick")]

    await alice.wait(lambda: set(answered()) >= set(ticks), what="every tick")
    assert sorted(answered()) == sorted(ticks)
    assert sum(SAID in one.content for one in bot.said(alice, room)) == COUNT
