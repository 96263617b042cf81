"""A person writes in a room and gets work done, seen by a client; see tests/fast/test_conversation.py for the rest."""

from collections.abc import Awaitable, Callable

from tests.harness import Daemon, notice, tool
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def test_it_greets_once_and_does_the_work_in_the_rooms_container(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    greeting = await notice(bot, alice, room, "Hello, I am Roommate")
    assert "!help" in greeting.body
    assert "Not in the rooms' image: build tools (pip, pytest" in greeting.body
    assert "`roommate image build --stage agents`" in greeting.body
    answer = await alice.ask(room, tool("run_command", command="echo $((6*7)); hostname; id -u") + "\n---\nECHO")
    assert "42" in answer.body
    assert answer.msgtype == "m.text"
    assert answer.content["io.roommate.turn"]["state"] == "done"
    assert "run_command" in answer.html, "the steps are folded under the answer"
    assert len([m for m in bot.said(alice, room) if "Hello" in m.body]) == 1


async def test_what_comes_while_it_works_is_marked_and_answered_in_order(
    bot: Daemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    first = await alice.say(room, f"GATE {room}\nSAY first")
    second = await alice.say(room, "SAY second")
    third = await alice.say(room, "SAY third")
    dropped = await alice.say(room, "SAY dropped")
    for event in (second, third, dropped):
        await alice.wait(lambda event=event: (bot.user_id, "⏳") in alice.reactions(room, event), what="⏳")  # type: ignore[misc]
    await alice.edit(room, second, "SAY changed")
    await alice.redact(room, dropped)
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    model.open(room)
    await alice.answer_to(first)
    await alice.wait(lambda: len(alice.finals(room)) == 3, what="three answers")
    last = await alice.ask(room, "SAY last")
    assert [m.body for m in alice.finals(room)] == ["first", "changed", "third", "last"]
    assert last.body == "last"
    await alice.wait(lambda: not alice.reactions(room, second), what="the mark taken off")


async def test_stop_ends_the_command_now_and_the_next_turn_is_good(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, tool("run_command", command="sleep 77") + "\n---\nSAY never")
    await alice.wait(lambda: any("sleep 77" in m.body for m in bot.said(alice, room)), what="the command")
    await alice.say(room, "!stop")
    answer = await alice.answer_to(asked)
    assert "Stopped by" in answer.body
    assert answer.content["io.roommate.turn"]["state"] == "stopped"
    good = await alice.ask(room, tool("run_command", command="pgrep -f 'sleep 7[7]' || echo gone") + "\n---\nECHO")
    assert "gone" in good.body


async def test_provider_errors_are_said_plainly_and_the_room_goes_on(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, "STATUS 401")
    assert "LLM_API_KEY" in answer.body
    assert answer.content["io.roommate.turn"]["state"] == "failed"
    assert (await alice.ask(room, "STATUS 400")).content["io.roommate.turn"]["state"] == "failed"
    assert (await alice.ask(room, "SAY good")).body == "good"


async def test_a_busy_provider_is_asked_again(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    assert "patience" in (await alice.ask(room, "STATUS 429 1 retry-after=0\nSAY patience")).body


async def test_two_rooms_work_at_the_same_time_and_see_nothing_of_each_other(
    bot: Daemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    mine, other = await bot.room_with(alice), await bot.room_with(bob)
    secret = tool("write_file", path="secret.txt", content="hush") + f"\n---\nGATE {mine}\nSAY written"
    look = tool("run_command", command="cat secret.txt; ls /workspace; ps aux | wc -l") + "\n---\nECHO"
    first = await alice.say(mine, secret)
    await alice.wait(lambda: any("secret.txt" in m.body for m in bot.said(alice, mine)), what="the file")
    assert "hush" not in (await bob.ask(other, look)).body, "and it is answered while the other room works"
    model.open(mine)
    assert (await alice.answer_to(first)).body.startswith("written")
