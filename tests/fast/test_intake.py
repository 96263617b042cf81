"""Intake: everything once, in order, whatever crashes. What Synapse has a say in is in tests/matrix/test_intake.py."""

from __future__ import annotations

import pytest

from roommate.domain import Arrived, Gone, Invite, Message, RoomId
from tests.fast.conftest import MakeLine, MakePerson
from tests.matrix.line import Crash, texts
from tests.matrix.test_intake import settle_in


async def test_the_very_first_sync_passes_over_what_was_said_before(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(connect=False), await person("alice")
    await bot.open()
    old = await alice.create_room([bot.user_id])
    await bot.homeserver.join(RoomId(old))
    await alice.say(old, "said before")
    invited = await alice.create_room([bot.user_id], encrypted=True)
    bot.run(bot.intake.run())
    await bot.ready()
    assert await bot.kept(old) == []
    assert await bot.state(old) == ("join", 2, False, None)
    assert [each.what for each in await bot.kept(invited)] == [Invite()]
    assert (await bot.state(invited))[0] == "invite"
    await alice.say(old, "said now")
    assert texts(await bot.wait_kept(old, bool)) == ["said now"]


async def test_what_a_person_writes_right_after_inviting_is_kept(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await alice.create_room()
    await alice.say(room, "among people")
    await alice.invite(room, bot.user_id)
    for number in range(3):
        await alice.say(room, f"task {number}")
    await settle_in(bot, alice, room)
    await alice.say(room, "and now")
    kept = await bot.wait_kept(room, lambda kept: "and now" in texts(kept))
    assert texts(kept) == ["task 0", "task 1", "task 2", "and now"]


async def test_an_invitation_answered_late_brings_all_that_was_said_since(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await alice.create_room()
    await alice.say(room, "among people")
    await alice.invite(room, bot.user_id)
    for number in range(110):
        await alice.say(room, f"{number}")
    await settle_in(bot, alice, room)
    assert texts(await bot.kept(room)) == [str(number) for number in range(110)]


async def test_a_public_room_counts_from_the_join(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await alice.create_room(preset="public_chat")
    await alice.say(room, "among people")
    await bot.homeserver.join(RoomId(room))
    await alice.wait_for_member(room, bot.user_id)
    await alice.say(room, "welcome")
    kept = await bot.wait_kept(room, lambda kept: "welcome" in texts(kept))
    assert [each.what for each in kept] == [Arrived(), Message("welcome")]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_around_the_commit_repeats_and_loses_nothing(
    line: MakeLine, person: MakePerson, when: str
) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    await bot.crash()
    for number in range(105):
        await alice.say(room, f"{number}")
    await bot.open()
    bot.inbox.crash = when
    with pytest.raises(Crash):
        await bot.intake.run()
    await bot.crash()
    await alice.say(room, "105")
    await bot.connect()
    kept = await bot.wait_kept(room, lambda kept: "105" in texts(kept))
    assert texts(kept) == [str(number) for number in range(106)]


@pytest.mark.parametrize(("deed", "reason"), [("kick", "kicked by {}: enough"), ("ban", "banned by {}: enough")])
@pytest.mark.parametrize("awake", [True, False])
async def test_kicked_and_banned(line: MakeLine, person: MakePerson, deed: str, reason: str, awake: bool) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    if not awake:
        await bot.crash()
    await alice.say(room, "do it")
    await (alice.kick if deed == "kick" else alice.ban)(room, bot.user_id, "enough")
    if not awake:
        await bot.connect()
    kept = await bot.wait_kept(room, lambda kept: isinstance(kept[-1].what, Gone))
    assert kept[-1].what == Gone(reason.format(alice.user_id))
    assert (await bot.state(room))[0] == "leave"


async def test_leaving_and_being_invited_again(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    await alice.say(room, "first stay")
    await bot.wait_kept(room, lambda kept: texts(kept) == ["first stay"])
    await bot.homeserver.leave(RoomId(room), "done here")
    await bot.wait_kept(room, lambda kept: kept[-1].what == Gone("left"))
    await alice.say(room, "while it was away")
    await alice.invite(room, bot.user_id)
    await alice.say(room, "welcome back")
    await bot.wait_kept(room, lambda kept: kept[-1].what == Invite())
    await bot.homeserver.join(RoomId(room))
    kept = await bot.wait_kept(room, lambda kept: texts(kept)[-1] == "welcome back")
    stays = [Invite(), Arrived(), Message("first stay"), Gone("left"), Invite(), Arrived(), Message("welcome back")]
    assert [each.what for each in kept] == stays
    assert any(
        seen.event["content"] == {"membership": "leave", "reason": "done here"}
        for seen in alice.seen
        if seen.type == "m.room.member"
    )


async def test_names_members_and_encryption_are_followed(line: MakeLine, person: MakePerson) -> None:
    bot, alice, bob = await line(), await person("alice"), await person("bob")
    room = await settle_in(bot, alice)
    await alice.call("PUT", f"rooms/{room}/state/m.room.name/", {"name": "New name"})
    await alice.call("PUT", f"rooms/{room}/state/m.room.encryption/", {"algorithm": "m.megolm.v1.aes-sha2"})
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    await bob.say(room, "last")
    await bot.wait_kept(room, lambda kept: "last" in texts(kept))
    assert await bot.state(room) == ("join", 3, True, "New name")


async def test_what_the_bot_says_itself_is_not_kept(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    await bot.say(room, "I work")
    await alice.wait(lambda: alice.messages(room, bot.user_id))
    await alice.say(room, "good")
    assert texts(await bot.wait_kept(room, lambda kept: "good" in texts(kept))) == ["good"]


async def test_edits_and_redactions_reach_what_waits(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await settle_in(bot, alice)
    edited, redacted = await alice.say(room, "frist"), await alice.say(room, "oops")
    await alice.edit(room, edited, "first")
    await alice.redact(room, redacted)
    await alice.react(room, edited, "👍")
    await alice.say(room, "last")
    assert texts(await bot.wait_kept(room, lambda kept: "last" in texts(kept))) == ["first", "last"]
