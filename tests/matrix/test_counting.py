"""A homeserver whose syncs have no summary: who is in a room is asked, and kept up to date from what happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, MakeDaemon, MakePerson, register
from tests.front import Front, JsonObject
from tests.matrix.line import Line
from tests.matrix.test_sender import room_of
from tests.patience import PATIENCE


@pytest.fixture
async def taciturn(homeserver: Synapse) -> AsyncIterator[Front]:
    def change(path: str, answer: JsonObject) -> None:
        if path.endswith("/sync"):
            for room in answer.get("rooms", {}).get("join", {}).values():
                room.pop("summary", None)

    async with Front(homeserver.url) as front:
        front.change = change
        yield front


def asked(front: Front) -> int:
    return sum(path.endswith("/joined_members") for path, _ in front.asked)


async def members(bot: Line, room: str, wanted: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await bot.state(room))[1] != wanted:
            await asyncio.sleep(0.02)


async def test_members_are_asked_for_once_and_then_followed(
    homeserver: Synapse, taciturn: Front, person: MakePerson, tmp_path: Path
) -> None:
    alice, bob, carol = [await person(name) for name in ("alice", "bob", "carol")]
    bot = Line(taciturn.url, await register(homeserver, "bot"), PASSWORD, tmp_path)
    await bot.connect()
    try:
        room = await room_of(bot, alice)
        await members(bot, room, 2)
        assert asked(taciturn) == 1
        for one in (bob, carol):
            await alice.invite(room, one.user_id)
            await one.join(room)
        await members(bot, room, 4)
        await bob.call("PUT", f"profile/{bob.user_id}/displayname", {"displayname": "Robert"})
        await carol.leave(room)
        await members(bot, room, 3)
        assert asked(taciturn) == 1, "events tell the rest"

        await bot.crash()
        await bob.leave(room)
        for number in range(120):  # a gap, so that nobody tells that Bob has left
            await alice.say(room, f"{number}")
        await bot.connect()
        await members(bot, room, 2)
        assert asked(taciturn) == 2
    finally:
        await bot.crash()


async def test_a_crowd_is_not_taken_for_two_people(daemon: MakeDaemon, taciturn: Front, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(MATRIX_HOMESERVER=taciturn.url)
    crowd, two = await bot.room_with(alice, bob), await bot.room_with(alice)
    ignored = await alice.say(crowd, "run: echo overheard")
    assert "to me" in (await alice.ask(two, "run: echo to me")).body
    assert "called" in (await alice.ask(crowd, f"{bot.user_id}: run: echo called")).body
    assert [m.body for m in alice.finals(crowd) if "overheard" in m.body] == [], ignored


async def test_who_wants_to_be_verified_is_known_to_be_there(
    daemon: MakeDaemon, homeserver: Synapse, person: MakePerson
) -> None:
    alice = await person("alice")
    async with Front(homeserver.url) as front:
        bot = await daemon(MATRIX_HOMESERVER=front.url)
        room = await bot.room_with(alice)
        for _ in range(2):
            await alice.say(room, "!verify")
        await alice.wait(lambda: sum("I have asked" in m.body for m in bot.said(alice, room)) == 2, what="both answers")
        assert asked(front) <= 1, "what the first one has learned is kept up to date by syncs"
