"""What was said while the daemon was down comes as one sync, and is dealt with as if it had come one by one."""

from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson


async def test_a_stop_right_behind_its_prompt_stops_it(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY hello")
    await bot.term()
    asked = await alice.say(room, "DELAY 60\nSAY never")
    await alice.say(room, "!stop")
    await bot.start()
    answer = await alice.answer_to(asked)
    assert "Stopped by" in answer.body
    assert (await alice.ask(room, "SAY good")).body == "good"
    assert [m.body for m in bot.said(alice, room) if "stopped" in m.body.lower()] == [answer.body], "said once"


async def test_quick_turns_overtake_nothing_and_leave_no_mark(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY hello")
    await bot.term()
    asked = [await alice.say(room, f"SAY number {number}.") for number in range(70)]
    await bot.start()
    await alice.wait(lambda: len(alice.finals(room)) >= 71, what="71 answers")
    assert [m.body for m in alice.finals(room)][1:] == [f"number {number}." for number in range(70)]
    await alice.wait(lambda: not any(alice.reactions(room, event) for event in asked), what="all marks taken off")


async def test_a_new_model_counts_from_the_next_message_on(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY hello")
    await bot.term()
    await alice.say(room, "!model rehearsal")
    asked = await alice.say(room, "who are you?")
    await bot.start()
    assert "rehearsal" in (await alice.answer_to(asked)).body
