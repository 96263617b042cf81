"""Threads are conversations that run side by side: none waits for another, or is stopped with it."""

from __future__ import annotations

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakePerson
from tests.harness import Bot, command, notice, run, tool
from tests.person import Person, Shown

AT_ONCE = 4
"""Turns of a room that run at a time."""


async def root(alice: Person, room: str) -> str:
    """A message that threads hang on, and that is nobody's business."""
    return await alice.say(room, "about this", msgtype="m.notice")


def finals(alice: Person, room: str, thread: str | None) -> list[Shown]:
    return [message for message in alice.finals(room) if message.thread == thread]


async def final(alice: Person, room: str, thread: str | None, count: int = 1) -> Shown:
    """The answer of that number in this conversation."""
    await alice.wait(lambda: len(finals(alice, room, thread)) >= count, what=f"answer {count} in {thread}")
    return finals(alice, room, thread)[count - 1]


async def waits(bot: Bot, alice: Person, room: str, event: str) -> None:
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, event), what="⏳")


async def works(bot: Bot, alice: Person, room: str, words: str) -> Shown:
    found = await alice.wait(
        lambda: next((m for m in bot.said(alice, room) if words in m.body), None), what=f"a turn that shows {words!r}"
    )
    assert found is not None
    return found


async def test_two_threads_and_the_room_itself_run_at_the_same_time(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    one, two = await root(alice, room), await root(alice, room)
    meet = run("touch {mine}; until [ -e {other} ] && [ -e go ]; do sleep 0.05; done; echo {mine} met {other}")
    await alice.say(room, meet.replace("{mine}", "one").replace("{other}", "two"), thread=one)
    later = await alice.say(room, "SAY and then this", thread=one)
    await alice.say(room, meet.replace("{mine}", "two").replace("{other}", "one"), thread=two)
    await waits(bot, alice, room, later)
    await alice.say(room, tool("run_command", command="until [ -e one ] && [ -e two ]; do sleep 0.05; done; echo both"))
    await final(alice, room, None)
    assert not finals(alice, room, one)

    status = (await command(bot, alice, room, "!status")).body
    assert status.count("- turn: number") == 2
    assert f"in [a thread](https://matrix.to/#/{room.replace('!', '%21').replace(':', '%3A')}" in status
    assert "- waiting: 1" in status
    await alice.say(room, run("touch go"))
    assert "one met two" in (await final(alice, room, one)).body
    assert "two met one" in (await final(alice, room, two)).body
    assert (await final(alice, room, one, 2)).body == "and then this", "in order within a thread"
    await alice.wait(lambda: not alice.reactions(room, later), what="the mark taken off")


async def test_stop_and_reset_are_about_the_conversation_that_they_are_said_in(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    thread = await root(alice, room)
    await alice.say(room, "SAY words of the thread", thread=thread)
    await final(alice, room, thread)
    slow = "SAY on it\nDELAY 100\nSAY never"
    await alice.say(room, slow, thread=thread)
    await works(bot, alice, room, "on it")
    told = "Nothing runs in this conversation. Elsewhere in this room 1 turn runs: `!stop all` stops all."
    assert (await command(bot, alice, room, "!stop")).body == told
    assert (await command(bot, alice, room, "!reset")).body.startswith("Forgotten: 0 turns of this conversation")
    await alice.say(room, "SAY also here\nDELAY 100\nSAY never")
    await works(bot, alice, room, "also here")
    await alice.say(room, "!stop", thread=thread)
    assert "Stopped by" in (await final(alice, room, thread, 2)).body
    assert not finals(alice, room, None), "what runs in the room itself goes on"
    await alice.say(room, "!stop")
    assert "Stopped by" in (await final(alice, room, None)).body

    await alice.say(room, "SAY still known", thread=thread)
    await final(alice, room, thread, 3)
    assert "words of the thread" in f"{model.asked[-1].messages}"
    await alice.say(room, "!reset all")
    await notice(bot, alice, room, "Forgotten: 4 turns of all conversations here")
    await alice.say(room, "SAY begun anew", thread=thread)
    await final(alice, room, thread, 4)
    assert "words of the thread" not in f"{model.asked[-1].messages}"


async def test_a_room_runs_so_many_turns_at_a_time_and_the_rest_waits_its_turn(
    bot: MemoryDaemon, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    threads = [await root(alice, room) for _ in range(AT_ONCE + 1)]
    for number, thread in enumerate(threads[:AT_ONCE]):
        await alice.say(room, f"SAY number {number}\nDELAY 100\nSAY never", thread=thread)
        await works(bot, alice, room, f"number {number}")
    again = await alice.say(room, "SAY again", thread=threads[0])
    fifth = await alice.say(room, "SAY number 4\nDELAY 100\nSAY never", thread=threads[AT_ONCE])
    sixth = await alice.say(room, "SAY in the room")
    for event in (again, fifth, sixth):
        await waits(bot, alice, room, event)
    await alice.say(room, "!stop", thread=threads[1])
    await works(bot, alice, room, "number 4")
    assert alice.reactions(room, again), "its conversation is busy, and the next one is not held up by that"
    assert alice.reactions(room, sixth)
    await alice.say(room, "!stop all", thread=threads[1])
    await notice(bot, alice, room, "2 waiting messages dropped.")
    assert (await alice.ask(room, "SAY free again")).body == "free again"
    assert not [m for m in alice.finals(room) if "again" in m.body and "free" not in m.body]
