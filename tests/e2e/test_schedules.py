"""Schedules over kill -9 at each commit around their time: each is asked once, as people in the room see it."""

from __future__ import annotations

import asyncio

from roommate.domain import SAID
from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.shooting import Shooting
from tests.harness import Daemon, notice
from tests.person import Person
from tests.scripted_model import ScriptedModel

POINTS = range(1, 9)
"""From the setting on: told, sent, asked, taken as a prompt, each before and after its commit."""
AT_A_START = (2, 5, 8)
"""Of a start that finds some that were missed."""


async def test_each_is_asked_once_wherever_a_kill_falls_and_when_it_was_missed(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, start=False), await person("alice")
    shooting = Shooting(bot)
    await shooting.start()
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    ticks: list[str] = []
    for point in POINTS:
        ticks += await two_are_set(bot, alice, room, len(ticks))
        shooting.at(point)
        await dies(bot, alice, room, ticks)
        await shooting.hit()
        await asked(alice, room, ticks)
    for point in AT_A_START:
        ticks += await two_are_set(bot, alice, room, len(ticks))
        await bot.term()
        await asyncio.sleep(1)
        shooting.at(point)
        await bot.spawn()
        await dies(bot, alice, room, ticks)
        await shooting.hit()
        await asked(alice, room, ticks)
    assert sorted(answered(alice, room)) == sorted(ticks)
    assert sum(SAID in one.content for one in bot.said(alice, room)) == len(ticks)


async def two_are_set(bot: Daemon, alice: Person, room: str, count: int) -> list[str]:
    """For the same second."""
    ticks = [f"tick {count}.", f"tick {count + 1}."]
    for tick in ticks:
        await alice.say(room, f"!at +1s SAY {tick}")
    await alice.wait(
        lambda: sum("⏰ Schedule" in one.body for one in bot.said(alice, room)) == count + 2, what="them set"
    )
    return ticks


async def dies(bot: Daemon, alice: Person, room: str, ticks: list[str]) -> None:
    """At the point that it was aimed at; where all was asked before, at what is said then."""
    await alice.wait(lambda: not bot.running or set(answered(alice, room)) >= set(ticks), what="its end, or every tick")
    while bot.running:
        await alice.say(room, "!ping")
        await asyncio.sleep(0.1)


async def asked(alice: Person, room: str, ticks: list[str]) -> None:
    await alice.wait(lambda: set(answered(alice, room)) >= set(ticks), what="every tick")


def answered(alice: Person, room: str) -> list[str]:
    """Below one that a kill interrupted stands that it was."""
    return [one.body.partition("\n")[0] for one in alice.finals(room) if one.body.startswith("tick")]
