"""Into a room, out of it and in again: the bot notices, cleans up, and loses no file."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.conftest import MakeDaemon
from tests.harness import Daemon, tool
from tests.patience import PATIENCE
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def no_container(bot: Daemon) -> None:
    async with asyncio.timeout(PATIENCE):
        while bot.containers():
            await asyncio.sleep(0.1)


async def test_a_kick_ends_the_turn_and_the_container_and_an_invite_brings_the_files_back(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, tool("write_file", path="kept.txt", content="still here") + "\n---\nSAY ok")
    assert len(bot.containers()) == 1
    await alice.say(room, tool("run_command", command="sleep 60") + "\n---\nSAY never")
    await alice.wait(lambda: any("sleep 60" in m.body for m in bot.said(alice, room)), what="the command")
    await alice.kick(room, bot.user_id, "enough")
    await no_container(bot)
    assert bot.running
    await alice.invite(room, bot.user_id)
    await alice.wait_for_member(room, bot.user_id)
    answer = await alice.ask(room, tool("read_file", path="kept.txt") + "\n---\nECHO")
    assert "still here" in answer.body
    assert len([m for m in bot.said(alice, room) if "Hello, I am" in m.body]) == 2


async def test_a_room_it_was_kicked_from_while_it_was_down_is_given_up(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room, other = await bot.room_with(alice), await bot.room_with(alice)
    await alice.ask(room, tool("run_command", command="true") + "\n---\nSAY ok")
    await bot.kill9()
    await alice.kick(room, bot.user_id)
    await bot.start()
    assert (await alice.ask(other, "SAY here")).body == "here"
    await no_container(bot)
