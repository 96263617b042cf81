"""The sender against the real homeserver: in order, once, within the limit, whatever crashes."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from roommate.demo.embedded_synapse import Synapse
from roommate.domain import Draft, JsonObject, Rank, RoomId
from roommate.matrix.sender import BACKLOG
from tests.conftest import PASSWORD, MakePerson
from tests.matrix.conftest import MakeLine
from tests.matrix.line import Crash, Line, text
from tests.patience import PATIENCE, until
from tests.person import Person


async def room_of(line: Line, *people: Person) -> str:
    room = await people[0].create_room([line.user_id])
    await line.homeserver.join(RoomId(room))
    await people[0].wait_for_member(room, line.user_id)
    return room


async def limit(homeserver: Synapse, user_id: str, per_second: int, burst: int) -> None:
    """Synapse's limit for one account, other than its default of 0.2 a second and 10 at once."""
    admin = await homeserver.register("limits-admin", PASSWORD, admin=True)
    url = f"{homeserver.url}/_synapse/admin/v1/users/{user_id}/override_ratelimit"
    body = {"messages_per_second": per_second, "burst_count": burst}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {admin.access_token}"}) as http,
        http.post(url, json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()


def bodies(person: Person, room: str, bot: str) -> list[str]:
    return [shown.body for shown in person.messages(room, bot)]


async def all_said(person: Person, room: str, bot: str, wanted: list[str], timeout: float = PATIENCE) -> None:
    await person.wait(lambda: len(bodies(person, room, bot)) >= len(wanted), timeout, f"{wanted}")
    assert bodies(person, room, bot) == wanted


async def test_rows_arrive_in_order_and_rooms_do_not_wait_for_each_other(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    rooms = [await room_of(bot, alice) for _ in range(3)]
    for number in range(20):
        for room in rooms:
            await bot.say(room, f"{number}")
    for room in rooms:
        await all_said(alice, room, bot.user_id, [str(number) for number in range(20)])

    async def all_sent() -> bool:
        return not await bot.outbox.unsent()

    await until(all_sent, "that it arrived to be known")


async def test_a_crash_before_the_arrival_is_known_repeats_nothing(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    bot.outbox.crash = True
    (row,) = await bot.say(room, "once")
    with pytest.RaisesGroup(Crash):
        await asyncio.wait_for(bot._tasks[1], 10)
    await all_said(alice, room, bot.user_id, ["once"])
    await bot.crash()  # by now a sync may have brought it, and told that it has arrived
    await bot.connect()
    await bot.say(room, "twice")
    await all_said(alice, room, bot.user_id, ["once", "twice"])
    assert await bot.fate(row) == ("sent", alice.messages(room, bot.user_id)[0].event_id)


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────


def file(room: str, content: bytes) -> Draft:
    about = {"msgtype": "m.file", "body": "all.txt", "info": {"mimetype": "text/plain"}}
    return Draft(RoomId(room), about, upload=content)


async def test_a_file_is_uploaded_once_whatever_crashes(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    bot.outbox.crash = True
    await bot.put(file(room, b"whole"))
    await all_said(alice, room, bot.user_id, ["all.txt"])
    for kept in await bot.outbox.unsent():  # a sync may have told by now that it has arrived
        assert (kept.draft.upload, kept.draft.content["url"][:6]) == (None, "mxc://")
    await bot.crash()
    await bot.connect()
    await bot.say(room, "next")
    await all_said(alice, room, bot.user_id, ["all.txt", "next"])


# ── live messages ────────────────────────────────────────────────────────────────────────────────


class Look:
    """What a turn has to show; counts how often it was drawn."""

    def __init__(self) -> None:
        self.now = 0
        self.drawn = 0

    async def __call__(self) -> JsonObject:
        self.drawn += 1
        return text(f"step {self.now}", notice=True)


async def work(bot: Line, room: str, row: int, look: Look, pause: float = 0.01) -> None:
    while True:
        look.now += 1
        bot.sender.progress(RoomId(room), row, look)
        await asyncio.sleep(pause)


# ── the homeserver's limit ───────────────────────────────────────────────────────────────────────


async def test_the_default_limit_delays_and_loses_nothing(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(limited=True), await person("alice")
    one, two = await room_of(bot, alice), await room_of(bot, alice)
    # Of a burst of ten, the two joins took two.
    await bot.say(one, *(f"{number}" for number in range(5)))
    await bot.say(two, *(f"{number}" for number in range(5)))
    await all_said(alice, one, bot.user_id, [str(number) for number in range(5)])
    await all_said(alice, two, bot.user_id, [str(number) for number in range(5)])
    while not (pace := await bot.outbox.pace()):  # a slow homeserver refuses later: the second refusal teaches it
        await bot.say(one, "more")
        await bot.say(two, "more")
        said = len(bodies(alice, one, bot.user_id))
        await alice.wait(lambda said=said: len(bodies(alice, one, bot.user_id)) > said)  # type: ignore[misc]
    assert 1 < pace <= 5.1, "no more than it is, however slow the homeserver is"


async def test_what_is_new_does_not_wait_behind_a_backlog(
    line: MakeLine, person: MakePerson, homeserver: Synapse
) -> None:
    bot, alice = await line(limited=True), await person("alice")
    await limit(homeserver, bot.user_id, 1, 4)
    old, new = await room_of(bot, alice), await room_of(bot, alice)
    backlog = [f"{number}" for number in range(60)]
    await bot.say(old, *backlog)
    await alice.wait(lambda: len(bodies(alice, old, bot.user_id)) >= 14)
    await bot.say(new, "an answer")
    await all_said(alice, new, bot.user_id, ["an answer"])
    said = bodies(alice, old, bot.user_id)
    assert len(said) < 40, "long before the backlog is through"
    assert said == backlog[: len(said)]


async def test_a_card_goes_before_what_waits_in_other_rooms(
    line: MakeLine, person: MakePerson, homeserver: Synapse
) -> None:
    bot, alice = await line(limited=True), await person("alice")
    await limit(homeserver, bot.user_id, 1, 4)  # so few that there is one however slow this host is
    busy, asking = await room_of(bot, alice), await room_of(bot, alice)
    await bot.say(busy, *(f"{number}" for number in range(4)))
    await alice.wait(lambda: len(bodies(alice, busy, bot.user_id)) >= 4)
    await bot.put(
        *(Draft(RoomId(busy), text(f"{number}")) for number in range(4, 8)),
        Draft(RoomId(asking), text("a line first")),
        Draft(RoomId(asking), text("may I?"), Rank.CARD),
    )
    await all_said(alice, busy, bot.user_id, [str(number) for number in range(8)])
    await all_said(alice, asking, bot.user_id, ["a line first", "may I?"])
    assert alice.messages(asking, bot.user_id)[1].at <= alice.messages(busy, bot.user_id)[-1].at, "at most in one sync"


@pytest.mark.parametrize("cards", [BACKLOG, 2 * BACKLOG])
async def test_cards_of_one_room_do_not_mute_the_others(
    line: MakeLine, person: MakePerson, homeserver: Synapse, cards: int
) -> None:
    """So many that the room is just not far behind, and so many that it is."""
    bot, alice = await line(limited=True), await person("alice")
    await limit(homeserver, bot.user_id, 2, 4)
    flooded, quiet = await room_of(bot, alice), await room_of(bot, alice)
    await bot.say(flooded, *(f"may I {number}?" for number in range(cards)), rank=Rank.CARD)
    await alice.wait(lambda: len(bodies(alice, flooded, bot.user_id)) >= 6, what="what goes before the limit is known")
    await bot.say(quiet, "an answer")
    await all_said(alice, quiet, bot.user_id, ["an answer"])
    [answer] = alice.messages(quiet, bot.user_id)
    before = [card for card in alice.messages(flooded, bot.user_id) if card.at < answer.at]
    assert len(before) < cards, "it waited for its turn, not for all of them"


async def test_under_a_limit_progress_yields_and_answers_arrive(
    line: MakeLine, person: MakePerson, homeserver: Synapse
) -> None:
    bot, alice = await line(limited=True), await person("alice")
    await limit(homeserver, bot.user_id, 2, 10)
    rooms = [await room_of(bot, alice) for _ in range(4)]
    rows = [(await bot.put(Draft(RoomId(room), text("begin", notice=True), Rank.SIGN)))[0] for room in rooms]
    looks = [Look() for _ in rooms]
    began = time.monotonic()

    def edits() -> list[int]:
        return [message.edits for room in rooms for message in alice.messages(room, bot.user_id)]

    async def limit_is_known_and_each_room_got_its_share() -> bool:
        return await bot.outbox.pace() > 0.2 and len(edits()) == len(rooms) and min(edits()) > 1

    async with asyncio.TaskGroup() as turns:
        running = [
            turns.create_task(work(bot, room, row, look)) for room, row, look in zip(rooms, rows, looks, strict=True)
        ]
        await until(limit_is_known_and_each_room_got_its_share, "a share for each room")
        for one in running:
            one.cancel()
    for room, row in zip(rooms, rows, strict=True):
        bot.sender.forget(row)
        await bot.put(Draft(RoomId(room), text("the answer"), edits=row))
    for room in rooms:
        await alice.wait(lambda room=room: bodies(alice, room, bot.user_id) == ["the answer"])  # type: ignore[misc]
    took = time.monotonic() - began
    assert sum(edits()) <= 10 + 2 * took + 8
