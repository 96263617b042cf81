"""A homeserver with Synapse's default limits: everything arrives, in order, once; progress gives way."""

from collections.abc import Awaitable, Callable

from tests.conftest import MakeDaemon
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def test_under_the_default_limits_every_answer_arrives_once_and_in_order(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, limited=True), await person("alice")
    room = await bot.room_with(alice)
    # Ten events are free, then one each five seconds: the greeting, eight answers and their marks do not fit in.
    for number in range(8):
        await alice.say(room, f"SAY number {number}.")
    await alice.wait(lambda: len(alice.finals(room)) >= 8, what="8 answers")
    assert [m.body for m in alice.finals(room)] == [f"number {number}." for number in range(8)]


async def test_a_long_stream_under_the_default_limits_ends_whole(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, limited=True), await person("alice")
    room = await bot.room_with(alice)
    words = [f"w{number}" for number in range(60)]
    answer = await alice.ask(room, "\n".join(f"SAY {word}\nDELAY 0.1" for word in words))
    assert answer.body.split() == words
    assert answer.edits < 20, "progress gave way to the limit"
    assert (await alice.ask(room, "SAY and it goes on")).body == "and it goes on"
