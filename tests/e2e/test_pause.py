"""Paused: what comes is kept, people are told once, and all of it is answered in order when it ends."""

from __future__ import annotations

import asyncio

from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel


def notices(bot: Daemon, person: Person, room: str) -> list[Shown]:
    return [one for one in bot.said(person, room) if "Paused by" in one.body and "wait" in one.body]


async def test_a_pause_file_holds_rooms_also_over_a_crash(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room, other = await bot.room_with(alice), await bot.room_with(alice)
    flag = bot.state / f"PAUSE_{room}"
    flag.touch()
    await asyncio.sleep(1)
    first = await alice.say(room, "SAY one")
    [notice] = await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert notice.body.startswith(f"⏸ Paused by the file {flag.name}: 1 message waits")
    await alice.say(room, "SAY two")
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, first), what="the mark")
    assert (await alice.ask(other, "SAY here we go")).body == "here we go"
    await alice.say(room, "!status")
    await alice.wait(lambda: any("paused by the file" in m.body for m in bot.said(alice, room)), what="the status")

    await bot.kill9()
    (bot.state / "PAUSE").touch()
    flag.unlink()
    await bot.start()
    asked = await alice.say(other, "SAY three")
    await alice.wait(lambda: notices(bot, alice, other), what="the other room is paused as well")
    assert notices(bot, alice, other)[0].body.startswith("⏸ Paused by the file PAUSE: 1 message waits")
    assert [m.body for m in alice.finals(room)] == []
    (bot.state / "PAUSE").unlink()
    assert (await alice.answer_to(asked)).body == "three"
    await alice.wait(lambda: len(alice.finals(room)) == 2, what="both answers")
    assert [m.body for m in alice.finals(room)] == ["one", "two"]
    assert not alice.reactions(room, first)
    assert len(notices(bot, alice, room)) <= 2, "once in each pause"


async def test_a_turn_that_a_restart_left_waits_as_well(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, "SAY begun\nDELAY 2\nSAY and done")
    await alice.wait(lambda: any("begun" in m.body for m in bot.said(alice, room)), what="the turn")
    await bot.kill9()
    (bot.state / "PAUSE").touch()
    await bot.start()
    later = await alice.say(room, "SAY later")
    await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert not alice.finals(room)
    (bot.state / "PAUSE").unlink()
    assert "and done" in (await alice.answer_to(asked)).body
    assert (await alice.answer_to(later)).body
    assert [("and done" in m.body, "later" in m.body) for m in alice.finals(room)] == [(True, False), (False, True)]
