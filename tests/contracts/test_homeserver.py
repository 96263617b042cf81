"""What the daemon and people count on at a homeserver: order, once only, edits, gaps, limits, who may what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roommate.domain import EventId, RoomId
from roommate.errors import Refused, TokenRevoked, Transient
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.sender import edited
from tests.contracts.conftest import Meeting, synced
from tests.person import Person, SaidNo


def text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


async def together(meeting: Meeting, **room: Any) -> tuple[Homeserver, Person, RoomId]:
    """A bot and a person who are in one room."""
    bot, alice = await meeting.bot(), await meeting.person("alice")
    there = RoomId(await alice.create_room([bot.me.user_id], **room))
    await bot.join(there)
    await alice.wait_for_member(there, bot.me.user_id)
    return bot, alice, there


def bodies(section: dict[str, Any]) -> list[str]:
    events = section["timeline"]["events"]
    return [event["content"].get("body", "") for event in events if event["type"] == "m.room.message"]


async def test_what_is_said_is_seen_by_all_in_one_order(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    _, since = await synced(bot, None)
    for number in range(3):
        await bot.send(room, "m.room.message", text(f"bot {number}"), f"t{number}")
        await alice.say(room, f"alice {number}")
    said = [f"{who} {number}" for number in range(3) for who in ("bot", "alice")]
    await alice.wait(lambda: len(alice.messages(room)) == 6)
    assert [message.body for message in alice.messages(room)] == said
    rooms, after = await synced(bot, since)
    assert bodies(rooms["join"][room]) == said
    assert after != since
    again, _ = await synced(bot, since)
    assert bodies(again["join"][room]) == said, "the same since, the same answer"
    assert not (await synced(bot, after))[0].get("join"), "nothing is told twice"


async def test_a_transaction_is_one_event_however_often_it_is_sent(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    first = await bot.send(room, "m.room.message", text("once"), "same")
    assert await bot.send(room, "m.room.message", text("twice"), "same") == first
    sign = await bot.send(room, "m.reaction", reaction(first, "👀"), "mark")
    gone = await bot.redact(room, sign, None, "off")
    assert await bot.redact(room, sign, None, "off") == gone
    await alice.say(room, "last")
    await alice.wait(lambda: alice.messages(room)[-1].body == "last")
    assert [message.body for message in alice.messages(room)] == ["once", "last"]


def reaction(target: str, key: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": key}}


async def test_edits_reactions_and_redactions(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    event = await bot.send(room, "m.room.message", text("first"), "1")
    await bot.send(room, "m.room.message", edited(text("second"), event), "2")
    await alice.wait(lambda: [m.body for m in alice.messages(room)] == ["second"])
    assert (alice.messages(room)[0].event_id, alice.messages(room)[0].looks) == (event, ["first", "second"])

    mark = await bot.send(room, "m.reaction", reaction(event, "✅"), "3")
    await alice.wait(lambda: alice.reactions(room, event) == [(bot.me.user_id, "✅")])
    with pytest.raises(Refused) as no:
        await bot.send(room, "m.reaction", reaction(event, "✅"), "4")
    assert no.value.errcode == "M_DUPLICATE_ANNOTATION"
    await bot.redact(room, mark, None, "5")
    await alice.wait(lambda: not alice.reactions(room, event))
    await bot.send(room, "m.reaction", reaction(event, "✅"), "6")

    _, since = await synced(bot, None)
    said = await alice.say(room, "a secret")
    await alice.redact(room, said, "oops")
    rooms, _ = await synced(bot, since)
    events = rooms["join"][room]["timeline"]["events"]
    assert next(one for one in events if one["event_id"] == said)["content"] == {}, "nobody reads it any more"
    redaction = next(one for one in events if one["type"] == "m.room.redaction")
    assert said in (redaction.get("redacts"), redaction["content"].get("redacts"))
    assert await bot.event(room, EventId(said)) == {}
    with pytest.raises(Refused) as no:
        await bot.redact(room, EventId(await alice.say(room, "hers")), None, "7")
    assert no.value.errcode == "M_FORBIDDEN"


async def test_a_gap_is_said_and_can_be_filled(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    _, since = await synced(bot, None)
    await alice.call("PUT", f"rooms/{room}/state/m.room.name", {"name": "Kitchen"})
    for number in range(7):
        await alice.say(room, f"{number}")
    rooms, _ = await synced(bot, since, limit=2)
    section = rooms["join"][room]
    assert bodies(section) == ["5", "6"]
    assert section["timeline"]["limited"] is True
    assert "Kitchen" in [one["content"].get("name") for one in section["state"]["events"]]
    read: list[str] = []
    start: str | None = section["timeline"]["prev_batch"]
    while start is not None:
        page, start = await bot.messages(room, start, since, 3)
        read += [one["content"]["body"] for one in page if one["type"] == "m.room.message"]
    assert read == ["4", "3", "2", "1", "0"]
    whole, _ = await synced(bot, since)
    assert whole["join"][room]["timeline"].get("limited") is not True


async def test_a_sync_waits_for_news_and_no_longer(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    since = (await bot.sync(None, 0))["next_batch"]
    waiting = asyncio.create_task(bot.sync(since, 60_000))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await alice.say(room, "news")
    answer = await waiting
    assert bodies(answer["rooms"]["join"][room]) == ["news"]
    assert not (await bot.sync(answer["next_batch"], 1)).get("rooms", {}).get("join")


async def test_invitations_arrivals_and_departures(meeting: Meeting) -> None:
    bot, alice = await meeting.bot(), await meeting.person("alice")
    _, since = await synced(bot, None)
    room = RoomId(await alice.create_room([bot.me.user_id], name="Kitchen"))
    await alice.say(room, "before you came")
    rooms, since = await synced(bot, since)
    stripped = {one["type"]: one for one in rooms["invite"][room]["invite_state"]["events"]}
    assert stripped["m.room.name"]["content"]["name"] == "Kitchen"
    assert stripped["m.room.member"]["sender"] == alice.user_id
    with pytest.raises(Refused) as no:
        await bot.send(room, "m.room.message", text("let me in"), "1")
    assert no.value.errcode == "M_FORBIDDEN"

    await bot.join(room)
    rooms, since = await synced(bot, since)
    section = rooms["join"][room]
    assert bodies(section) == ["before you came"]
    assert section["timeline"]["limited"] is True, "who comes in has not seen what was before"
    mine = [one for one in section["timeline"]["events"] if one.get("state_key") == bot.me.user_id]
    assert [one["content"]["membership"] for one in mine] == ["invite", "join"]
    assert mine[1]["unsigned"]["prev_content"]["membership"] == "invite"
    assert await bot.joined_members(room) == {alice.user_id, bot.me.user_id}

    await alice.say(room, "and now go")
    await alice.kick(room, bot.me.user_id, "bye")
    rooms, since = await synced(bot, since)
    section = rooms["leave"][room]
    assert bodies(section) == ["and now go"]
    out = section["timeline"]["events"][-1]
    assert (out["sender"], out["content"]) == (alice.user_id, {"membership": "leave", "reason": "bye"})
    with pytest.raises(Refused):
        await bot.send(room, "m.room.message", text("still here"), "2")
    with pytest.raises(Refused):
        await bot.join(room)
    await bot.forget(room)

    await alice.invite(room, bot.me.user_id)
    assert room in (await synced(bot, since))[0]["invite"]
    await bot.leave(room, "no, thank you")
    await alice.wait_for_member(room, bot.me.user_id, "leave")
    other = RoomId(await alice.create_room())
    with pytest.raises(Refused) as no:
        await bot.join(other)
    assert no.value.errcode == "M_FORBIDDEN"
    await alice.ban(room, bot.me.user_id)
    with pytest.raises(SaidNo):
        await alice.invite(room, bot.me.user_id)


async def test_what_the_daemons_own_filter_brings(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting, name="Kitchen")
    first = await bot.sync(None, 0)
    section = first["rooms"]["join"][room]
    assert section["summary"]["m.joined_member_count"] == 2
    state = [*section["state"]["events"], *section["timeline"]["events"]]
    assert "Kitchen" in [one["content"].get("name") for one in state]
    bob = await meeting.person("bob")
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    await bob.wait_for_member(room, bob.user_id)
    section = (await bot.sync(first["next_batch"], 0))["rooms"]["join"][room]
    assert section["summary"]["m.joined_member_count"] == 3
    assert (await bot.state(room, "m.room.name"))["content"] == {"name": "Kitchen"}
    with pytest.raises(Refused) as no:
        await bot.state(room, "m.room.topic")
    assert no.value.errcode == "M_NOT_FOUND"


async def test_files_and_typing(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    uri = await bot.upload(b"\0\xff", "application/octet-stream", "a.bin")
    assert await alice.download(uri) == b"\0\xff"
    limit = await bot.upload_limit()
    assert limit is not None
    await bot.typing(room, True, 30_000)
    await alice.wait(lambda: alice.typing.get(room) == {bot.me.user_id})
    await bot.typing(room, False, 30_000)
    await alice.wait(lambda: alice.typing.get(room) == set())
    with pytest.raises(SaidNo) as no:
        await alice.download(f"{uri.rpartition('/')[0]}/nothing")
    assert no.value.status == 404


async def test_one_room_is_followed(meeting: Meeting) -> None:
    bot, alice, room = await together(meeting)
    other = await alice.create_room([bot.me.user_id])
    await bot.join(RoomId(other))
    for number in range(3):
        await alice.say(room, f"{number}")
    await alice.say(other, "elsewhere")
    events, since = await bot.follow(room, None, 2, 0)
    assert [one["content"].get("body") for one in events if one["type"] == "m.room.message"] == ["1", "2"]
    await alice.say(room, "3")
    events, _ = await bot.follow(room, since, 2, 1000)
    assert [one["content"].get("body") for one in events if one["type"] == "m.room.message"] == ["3"]


async def test_who_says_too_much_is_told_when_to_go_on(meeting: Meeting) -> None:
    bot, alice = await meeting.bot(limited=True), await meeting.person("alice")
    room = RoomId(await alice.create_room([bot.me.user_id]))
    await bot.join(room)
    sent = 0
    with pytest.raises(Transient) as no:
        for number in range(30):
            await bot.send(room, "m.room.message", text("again"), f"t{number}")
            sent += 1
    assert sent >= 5
    assert no.value.retry_after is not None
    assert 0 < no.value.retry_after <= 10
    assert await bot.send(room, "m.room.message", text("again"), "t0"), "what has arrived is no new message"


async def test_what_is_no_event_is_refused(meeting: Meeting) -> None:
    bot, _, room = await together(meeting)
    for content, errcode in ((text("half") | {"n": 1.5}, "M_BAD_JSON"), (text("x" * 70_000), "M_TOO_LARGE")):
        with pytest.raises(Refused) as no:
            await bot.send(room, "m.room.message", content, errcode)
        assert no.value.errcode == errcode
    assert await bot.send(room, "m.room.message", text("half an emoji \ud83d"), "half")


async def test_a_login_that_was_ended_is_dead(meeting: Meeting) -> None:
    bot = await meeting.bot()
    await bot._call("log out", "POST", "/_matrix/client/v3/logout", {})
    with pytest.raises(TokenRevoked):
        await bot.sync(None, 0)
