"""A room is upgraded: the bot follows, and everything that the room owned is in the new one, whatever is killed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.shooting import Shooting
from tests.e2e.test_once import count, settled
from tests.front import Front, limited
from tests.harness import Daemon
from tests.person import Person

MOVED = "This room replaces the one before"


async def upgrade(person: Person, room: str, version: str) -> str:
    answer = await person.call("POST", f"rooms/{quote(room)}/upgrade", {"new_version": version})
    return str(answer["replacement_room"])


async def furnished(bot: Daemon, alice: Person, bob: Person, preset: str) -> tuple[str, str, str]:
    """A room in use: settings, a grant, files, an open card, a turn that runs and a prompt that waits. Gives the room
    and both prompts."""
    everybody = [bot.user_id, bob.user_id]
    room = await alice.create_room(everybody, name="workshop", preset=preset, room_version="10")
    await bob.join(room)
    await alice.wait_for_member(room, bot.user_id)
    asked = await alice.say(room, f"{bot.user_id}: run: echo precious > file.txt")
    await alice.answer_to(asked)
    for command in ("!egress add example.org", "!prompt be brief", "!model rehearsal", "!reset workspace"):
        await alice.say(room, command)
    await settled(bot, alice, room)
    first = await alice.say(room, f"{bot.user_id}: run: echo be''gun; sleep 100")
    await alice.wait(
        lambda: any("begun" in shown.body + shown.html for shown in bot.said(alice, room)), what="the turn"
    )
    second = await alice.say(room, f"{bot.user_id}: run: cat file.txt")
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, second), what="the mark")
    return room, first, second


async def at_home(bot: Daemon, alice: Person, old: str, new: str) -> None:
    """All of it is there, once."""
    await alice.wait(lambda: count(bot, alice, new, MOVED) == 1, what="to be told")
    await alice.wait(lambda: len(alice.finals(new)) == 2, what="the answers to both prompts")
    interrupted, waited = alice.finals(new)
    assert "the daemon restarted while this ran" in interrupted.body + interrupted.html
    assert "precious" in waited.body
    await alice.say(new, "!egress")
    await alice.say(new, "!prompt")
    await alice.say(new, "!status")
    await settled(bot, alice, new)
    assert count(bot, alice, new, "`example.org`") == 1
    assert count(bot, alice, new, "be brief") == 1
    assert count(bot, alice, new, "so far: 3 turns") == 1
    assert count(bot, alice, new, "model: `rehearsal`") == 1
    assert count(bot, alice, new, MOVED) == 1
    assert count(bot, alice, new, "Hello, I am Roommate") == 0
    [card] = [shown for shown in bot.said(alice, new) if "Delete **every file**" in shown.body]
    await alice.react(new, card.event_id, "✅")
    await alice.wait(lambda: count(bot, alice, new, "the workspace is empty now") == 1, what="the card's effect")
    await alice.wait_for_member(old, bot.user_id, "leave")


@pytest.mark.parametrize(("version", "preset"), [("11", "private_chat"), ("12", "public_chat")])
async def test_everything_moves_with_the_people(
    daemon: MakeDaemon, person: MakePerson, version: str, preset: str
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(OPERATORS=alice.user_id)
    old, *_ = await furnished(bot, alice, bob, preset)
    new = await upgrade(alice, old, version)
    if preset == "private_chat":
        await bot.wait_for_log("may not join before it is invited")
        await alice.invite(new, bot.user_id)
    await alice.invite(new, bob.user_id)
    await bob.join(new)
    await alice.wait_for_member(new, bot.user_id)
    await at_home(bot, alice, old, new)


@pytest.mark.parametrize("point", [2, 3, 4])
async def test_a_kill_in_the_middle_of_the_move_changes_nothing(
    daemon: MakeDaemon, person: MakePerson, tmp_path: Path, point: int
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(start=False, OPERATORS=alice.user_id)
    shooting = Shooting(bot)
    await shooting.start()
    old, *_ = await furnished(bot, alice, bob, "public_chat")
    shooting.at(point)
    new = await upgrade(alice, old, "11")
    await shooting.hit()
    await bob.join(new)
    await at_home(bot, alice, old, new)


async def test_a_room_that_does_not_name_the_old_one_is_not_followed(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    bot = await daemon()
    old = await bot.room_with(alice)
    await alice.ask(old, "run: echo precious > file.txt")
    elsewhere = await alice.create_room([], preset="public_chat")
    content = {"body": "this way", "replacement_room": elsewhere}
    await alice.call("PUT", f"rooms/{quote(old)}/state/m.room.tombstone/", content)
    await bot.wait_for_log("is not followed: the new room does not say that it replaces this one")
    await alice.wait_for_member(elsewhere, bot.user_id, "leave")
    assert "precious" in (await alice.ask(old, "run: cat file.txt")).body, "life goes on here"


async def test_a_new_room_that_cannot_be_joined_holds_up_nobody(
    daemon: MakeDaemon, person: MakePerson, homeserver: Synapse
) -> None:
    async with Front(homeserver.url) as front:
        alice = await person("alice")
        bot = await daemon(MATRIX_HOMESERVER=front.url)
        power = {"users": {alice.user_id: 100, bot.user_id: 50}}  # an upgrade lets nobody else speak there
        old = await alice.create_room(
            [bot.user_id], preset="public_chat", room_version="10", power_level_content_override=power
        )
        await alice.wait_for_member(old, bot.user_id)
        elsewhere = await alice.create_room()

        async def away(request: web.Request) -> web.Response | None:
            return limited(retry_after_ms=1) if "/join/" in request.path else None

        front.before = away
        new = await upgrade(alice, old, "11")
        await alice.invite(elsewhere, bot.user_id)
        await bot.wait_for_log("may not join before it is invited")
        await bot.wait_for_log("came to nothing")
        assert (await alice.ask(old, "write here.txt: still here")).body
        front.before = None
        await alice.invite(new, bot.user_id)
        await alice.wait(lambda: count(bot, alice, new, MOVED) == 1, what="the move")
