"""Into a room, and out of it: what people see of it."""

import asyncio

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_operations import found
from tests.harness import notice, tool
from tests.patience import until


async def test_a_message_written_before_the_bot_has_joined_is_answered(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await alice.create_room()
    await alice.say(room, "SAY too early")
    await alice.invite(room, bot.user_id)
    asked = await alice.say(room, "SAY right away")
    assert (await alice.answer_to(asked)).body == "right away"
    assert not [m for m in alice.finals(room) if "too early" in m.body]


async def test_the_bot_leaves_when_everybody_has_left(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice, bob = await daemon(model=model), await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    meant = await alice.say(room, tool("run_command", command="true") + "\n---\nSAY ok", mentions=[bot.user_id])
    await alice.answer_to(meant)
    await bob.leave(room)
    await alice.leave(room)
    await until(lambda: not bot.containers(), "its container removed")


async def test_an_invite_that_came_while_it_was_down_is_taken(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    await bot.term()
    room = await alice.create_room([bot.user_id])
    asked = await alice.say(room, "SAY welcome back")
    await bot.start()
    assert (await alice.answer_to(asked)).body == "welcome back"
    await notice(bot, alice, room, "Hello")


async def test_in_as_many_rooms_as_it_may_be_and_polite_about_the_next(daemon: MakeDaemon, person: MakePerson) -> None:
    """Also where it is invited into several at once."""
    alice = await person("alice")
    bot = await daemon(MAX_ROOMS="1", OPERATORS=alice.user_id)
    rooms = await asyncio.gather(*(alice.create_room([bot.user_id]) for _ in range(3)))

    def in_it(membership: str) -> list[str]:
        return [room for room in rooms if alice.members(room).get(bot.user_id) == membership]

    async def homeless() -> bool:
        return not await found(bot, "rooms", "ls")

    await alice.wait(lambda: len(in_it("leave")) == 2 and len(in_it("join")) == 1, what="two that are declined")
    (home,), (declined, _) = in_it("join"), in_it("leave")
    said = await alice.call("GET", f"rooms/{declined}/state/m.room.member/{bot.user_id}")
    assert "at home in 1 rooms already" in said["reason"] and alice.user_id in said["reason"]
    await alice.say(home, "!ping")
    await notice(bot, alice, home, "Pong")

    await alice.kick(home, bot.user_id)
    await alice.wait(lambda: not in_it("join"), what="the kick")
    await until(homeless, "that the bot has heard of it")
    await alice.invite(declined, bot.user_id)
    await alice.wait_for_member(declined, bot.user_id)
