"""What a person commands takes effect once, and is answered once, wherever a kill falls: aimed between two commits."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.shooting import Shooting
from tests.harness import Daemon
from tests.person import Person
from tests.scripted_model import ScriptedModel

SLEEP = "run: rm -f *; echo old > old.txt; echo be''gun %d; sleep 100"
SECOND = "run: ls; echo se''cond > kept.txt; cat kept.txt"
ASKS = "Delete **every file**"


def count(bot: Daemon, person: Person, room: str, words: str) -> int:
    return sum(words in shown.body for shown in bot.said(person, room))


async def settled(bot: Daemon, person: Person, room: str) -> None:
    """Whatever it had to say by then has arrived: a room's messages come in order."""
    before = count(bot, person, room, "Pong")
    await person.say(room, "!ping")
    await person.wait(lambda: count(bot, person, room, "Pong") > before, what="a pong")


async def one_runs_and_one_waits(bot: Daemon, person: Person, room: str, number: int) -> tuple[str, str]:
    first = await person.say(room, SLEEP % number)
    begun = f"begun {number}"
    await person.wait(lambda: any(begun in m.body + m.html for m in bot.said(person, room)), what="the turn")
    second = await person.say(room, SECOND)
    await person.wait(lambda: (bot.user_id, "⏳") in person.reactions(room, second), what="the mark")
    return first, second


@pytest.mark.parametrize(
    ("command", "answer", "points"),
    [("!stop", "1 waiting message comes next; `!stop all` drops it.", (2, 3, 4, 5)), ("!reset", "Forgotten: ", (3, 4))],
)
async def test_a_stop_is_about_what_ran_when_it_was_said(
    daemon: MakeDaemon, person: MakePerson, command: str, answer: str, points: tuple[int, ...]
) -> None:
    bot, alice = await daemon(start=False), await person("alice")
    shooting = Shooting(bot)
    await shooting.start()
    room = await bot.room_with(alice)
    for number, point in enumerate(points, 1):
        first, second = await one_runs_and_one_waits(bot, alice, room, number)
        shooting.at(point)
        await alice.say(room, command)
        await shooting.hit()
        assert "⏹ Stopped by" in (await alice.answer_to(first)).body
        assert "second" in (await alice.answer_to(second)).body, "nobody stopped that"
        await settled(bot, alice, room)
        assert count(bot, alice, room, "⏹ Stopped by") == number
        assert count(bot, alice, room, answer) == number
        assert count(bot, alice, room, "Nothing runs") == 0


async def test_a_workspace_is_emptied_once_and_never_what_comes_after(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(start=False), await person("alice")
    shooting = Shooting(bot)
    await shooting.start()
    room = await bot.room_with(alice)
    for number, point in enumerate((3, 4, 5, 6, 7, 8), 1):
        first, second = await one_runs_and_one_waits(bot, alice, room, number)
        await alice.say(room, "!reset workspace")
        await alice.wait(lambda n=number: count(bot, alice, room, ASKS) == n, what="the card")  # type: ignore[misc]
        card = [shown for shown in bot.said(alice, room) if ASKS in shown.body][-1].event_id
        await alice.wait(lambda c=card: len(alice.reactions(room, c)) == 2, what="its choices")  # type: ignore[misc]
        await settled(bot, alice, room)
        shooting.at(point)
        await (alice.say(room, "yes") if number % 2 else alice.react(room, card, "✅"))
        await shooting.hit()
        assert "⏹ Stopped by" in (await alice.answer_to(first)).body
        answer = (await alice.answer_to(second)).body
        assert "old.txt" not in answer, "the files of before are gone"
        assert "second" in answer
        await settled(bot, alice, room)
        assert count(bot, alice, room, "the workspace is empty now") == number
        assert count(bot, alice, room, "⏹ Stopped by") == number
        assert "second" in (await alice.ask(room, "run: cat kept.txt")).body, "deleted once, not once more"


async def test_what_a_command_changes_is_answered_as_it_was_done(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    bot = await daemon(start=False, OPERATORS=alice.user_id)
    shooting = Shooting(bot)
    await shooting.start()
    room = await bot.room_with(alice)
    for number, point in enumerate((2, 3, 4), 1):
        for first, then, answer in (
            ("!egress add example.org", "!egress remove example.org", "is not among this room's hosts any more."),
            ("!pause", "!resume", "Resumed."),
        ):
            await alice.say(room, first)
            await settled(bot, alice, room)
            shooting.at(point)
            await alice.say(room, then)
            await shooting.hit()
            await settled(bot, alice, room)
            assert count(bot, alice, room, answer) == number, (point, then)


async def test_who_invites_it_and_writes_at_once_is_answered_once(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    """Killed at each of the first points from the invitation on: one joins with steps here and at the homeserver."""
    bot, alice = await daemon(model=model, start=False), await person("alice")
    shooting = Shooting(bot)
    await shooting.start()
    for point in range(1, 13):
        shooting.at(point)
        restart = asyncio.create_task(shooting.hit())
        room = await alice.create_room([bot.user_id])
        await alice.say(room, "SAY early")
        await alice.wait_for_member(room, bot.user_id)
        await alice.say(room, "SAY late")
        await alice.wait(lambda room=room: len(alice.finals(room)) > 1, what="two answers")  # type: ignore[misc]
        await restart
        await settled(bot, alice, room)
        assert [m.body.split()[0] for m in alice.finals(room)] == ["early", "late"], point
        assert count(bot, alice, room, "Hello, I am") == 1, point
