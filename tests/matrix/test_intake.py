"""Intake against the real homeserver: everything once, in order, whatever crashes."""

from __future__ import annotations

import asyncio

import pytest

from roommate.domain import Arrived, Invite, Message, RoomId
from roommate.errors import TokenRevoked
from tests.conftest import MakePerson
from tests.matrix.conftest import MakeLine
from tests.matrix.line import Line, texts
from tests.patience import PATIENCE
from tests.person import Person


async def settle_in(line: Line, host: Person, room: str | None = None) -> str:
    """A room of `host` that the bot has joined."""
    room = room or await host.create_room([line.user_id])
    await line.wait_kept(room, bool)
    await line.homeserver.join(RoomId(room))
    await line.wait_kept(room, lambda kept: any(each.what == Arrived() for each in kept))
    return room


async def test_an_invitation_an_arrival_and_what_is_said(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice, await alice.create_room([bot.user_id], name="Work"))
    said = await alice.say(room, "hello")
    kept = await bot.wait_kept(room, lambda kept: len(kept) == 3)
    assert [(each.sender, each.what) for each in kept] == [
        (alice.user_id, Invite()),
        (bot.user_id, Arrived()),
        (alice.user_id, Message("hello")),
    ]
    assert kept[2].event_id == said
    assert kept[2].sent_at > 1_700_000_000_000
    assert await bot.state(room) == ("join", 2, False, "Work")
    assert bot.intake.silent_seconds is not None
    assert bot.intake.silent_seconds < 15


async def test_more_messages_while_down_than_one_sync_gives(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    busy, quiet = await settle_in(bot, alice), await settle_in(bot, alice)
    before = len(await bot.kept(busy))
    await bot.crash()
    for number in range(110):
        await alice.say(busy, f"{number}")
        if number % 50 == 0:
            await alice.say(quiet, f"{number}")
    bob = await person("bob")
    await alice.invite(busy, bob.user_id)
    await bob.join(busy)
    for number in range(110, 120):
        await alice.say(busy, f"{number}")
    await bot.connect()
    assert texts((await bot.kept(busy))[before:]) == [str(number) for number in range(120)]
    assert texts(await bot.kept(quiet)) == ["0", "50", "100"]
    assert (await bot.state(busy))[1] == 3  # bob came in the gap
    await alice.say(busy, "live again")
    await bot.wait_kept(busy, lambda kept: texts(kept)[-1] == "live again")


async def test_a_withdrawn_invitation_is_no_departure(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await alice.create_room([bot.user_id])
    await bot.wait_kept(room, bool)
    await alice.kick(room, bot.user_id)
    async with asyncio.timeout(PATIENCE):
        while (await bot.state(room))[0] != "leave":
            await asyncio.sleep(0.01)
    assert [each.what for each in await bot.kept(room)] == [Invite()]


async def test_what_a_homeserver_takes_and_nobody_understands_keeps_nobody_waiting(
    line: MakeLine, person: MakePerson
) -> None:
    """Synapse looks at the kind of a message, and not at that of its edit."""
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    said = await alice.say(room, "hello")
    relation = {"rel_type": "m.replace", "event_id": said}
    edit = {"msgtype": "m.text", "body": "* x", "m.new_content": {"msgtype": [], "body": "x"}}
    await alice.send(room, "m.room.message", edit | {"m.relates_to": relation})
    await alice.say(room, "and now")
    assert texts(await bot.wait_kept(room, lambda kept: "and now" in texts(kept))) == ["hello", "and now"]


async def test_a_revoked_login_ends_intake(line: MakeLine, person: MakePerson) -> None:
    bot = await line()
    await bot.homeserver._call("log out", "POST", "/_matrix/client/v3/logout", {})
    with pytest.raises(TokenRevoked):
        async with asyncio.timeout(PATIENCE):
            await bot.intake.run()
    account = await bot.inbox.account()
    assert account is not None
    with pytest.raises(TokenRevoked):
        await bot.homeserver.sign_in("", account)
