"""Signing in, the homeserver away and back, and what is no homeserver at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from roommate.demo.synapse_config import free_port
from roommate.domain import Account, JsonObject, RoomId, SyncBatch, UserId
from roommate.errors import ConfigError, Refused, Transient
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix_login.password_and_token import DEVICE_NAME
from tests.conftest import PASSWORD, MakePerson, register
from tests.matrix.conftest import MakeLine
from tests.matrix.line import Line, texts
from tests.matrix.test_intake import settle_in
from tests.patience import PATIENCE
from tests.person import Person


async def test_the_first_login_makes_a_device_and_later_ones_use_it(homeserver: Synapse) -> None:
    user = UserId(await register(homeserver, "bot"))
    here = Homeserver(homeserver.url + "/", user)
    account = await here.sign_in(PASSWORD, None)
    assert (account.homeserver, account.user_id) == (homeserver.url, user)
    assert await here.sign_in("", account) == account
    devices = (await here._call("list devices", "GET", "/_matrix/client/v3/devices"))["devices"]
    assert {each["display_name"] for each in devices if each["device_id"] == account.device_id} == {DEVICE_NAME}
    assert here.me.display_name == user[1:].partition(":")[0]
    await here.close()


async def test_wrong_settings_are_named(homeserver: Synapse) -> None:
    user = UserId(await register(homeserver, "bot"))
    stranger = Account(homeserver.url, UserId("@other:localhost"), "X", "token")
    here = Homeserver(homeserver.url, user)
    with pytest.raises(ConfigError, match="MATRIX_PASSWORD"):
        await here.sign_in("wrong", None)
    with pytest.raises(ConfigError, match="MATRIX_PASSWORD"):
        await here.sign_in("", stranger)  # another account's login is no login
    await here.close()


async def test_a_homeserver_that_is_away_is_waited_for(homeserver: Synapse) -> None:
    here = Homeserver(f"http://127.0.0.1:{free_port()}", UserId("@bot:localhost"))
    with pytest.raises(Transient):
        await here.sign_in(PASSWORD, None)
    await here.close()


async def test_the_homeserver_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with Synapse(tmp_path / "hs", limits="open") as synapse:
        user_id = (await synapse.register("bot", PASSWORD)).user_id
        await synapse.register("alice", PASSWORD)
        alice = await Person.at(synapse.url, "@alice:localhost", PASSWORD)
        bot = await Line(synapse.url, user_id, PASSWORD, tmp_path / "bot").connect()
        room = await settle_in(bot, alice)
        await synapse.stop()
        rows = await bot.say(room, "one", "two", "three")
        await asyncio.sleep(0.3)
        assert {await bot.fate(row) for row in rows} == {("unsent", None)}
        await synapse.start()
        await alice.wait(lambda: len(alice.messages(room, bot.user_id)) == 3)
        assert [shown.body for shown in alice.messages(room, bot.user_id)] == ["one", "two", "three"]
        await alice.say(room, "still there?")
        await bot.wait_kept(room, lambda kept: texts(kept) == ["still there?"])
        await bot.crash()
        await alice.close()


async def test_what_the_homeserver_refuses(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    private = await alice.create_room()
    for refused in (bot.homeserver.join(RoomId(private)), bot.homeserver.send(RoomId(private), "m.x", {}, "t")):
        with pytest.raises(Refused) as no:
            await refused
        assert no.value.errcode == "M_FORBIDDEN"
    room = await settle_in(bot, alice)
    with pytest.raises(Refused) as no:
        await bot.homeserver.send(RoomId(room), "m.x", {"n": 1.5}, "t2")
    assert no.value.errcode == "M_BAD_JSON"
    await bot.homeserver.leave(RoomId(room))
    await bot.homeserver.forget(RoomId(room))


# ── what is no homeserver, or out of its mind ────────────────────────────────────────────────────

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
BOT = UserId("@bot:mad")


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``await serve(handler)``: the URL of a server that answers every request with it."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app, port = web.Application(), free_port()
        app.router.add_route("*", "/{path:.*}", handler)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


class Memory:
    """A SyncStore."""

    def __init__(self) -> None:
        self.batches: list[SyncBatch] = []

    async def since(self) -> str | None:
        return self.batches[-1].next_batch if self.batches else None

    async def joined_rooms(self) -> Mapping[RoomId, int]:
        return {}

    async def commit(self, batch: SyncBatch) -> None:
        self.batches.append(batch)

    async def replaces(self, room_id: RoomId) -> bool:
        return False


async def batches(
    serve: Serve, syncs: list[tuple[int, str]], pages: Sequence[tuple[int, str]] = ()
) -> tuple[list[SyncBatch], int]:
    """What intake stores of these answers (status, body) to syncs and questions for history; how often it synced.

    After the last of the syncs there is no news.
    """
    last = json.loads(syncs[-1][1])["next_batch"]
    left, history, memory, asked = list(syncs), list(pages), Memory(), 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        if request.path.endswith("/messages"):
            status, body = history.pop(0)
        elif request.path.endswith("/sync"):
            asked += 1
            status, body = left.pop(0) if left else (200, json.dumps({"next_batch": last}))
        else:
            status, body = 200, "{}"
        return web.Response(status=status, text=body, content_type="application/json")

    url = await serve(answer)
    here = Homeserver(url, BOT)
    await here.sign_in("", Account(url, BOT, "D", "t"))
    running = asyncio.create_task(Intake(here, memory, lambda _: None).run())
    async with asyncio.timeout(PATIENCE):
        while not memory.batches or memory.batches[-1].next_batch != last:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await here.close()
    return memory.batches, asked


async def test_nonsense_in_a_sync_is_passed_over(serve: Serve) -> None:
    nonsense = [
        '{"next_batch": "a", "rooms": []}',
        '{"next_batch": "b", "rooms": {"join": {"!r:m": {"timeline": {"events": [1, null, {"content": []}]}}}}}',
        '{"next_batch": "c", "rooms": {"join": {"!r:m": null}, "invite": {"!i:m": {"invite_state": 3}}, "leave": 4}}',
        '{"next_batch": "d", "rooms": {"leave": {"!r:m": {"timeline": {"events": {}}}, "": 1}}}',
        '{"next_batch": "e", "rooms": {"join": {"!r:m": {"timeline": {"limited": true, "prev_batch": {}}}}}}',
    ]
    stored, _ = await batches(serve, [(200, each) for each in nonsense])
    assert [batch.next_batch for batch in stored] == ["a", "b", "c", "d", "e"]


async def test_intake_outlives_every_failure_and_does_not_spin(serve: Serve) -> None:
    began = time.monotonic()
    answers = [
        (502, "<html>Bad gateway</html>"),
        (200, "not JSON"),
        (429, '{"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 100}'),
        (200, '{"next_batch": "fine"}'),
    ]
    stored, asked = await batches(serve, answers)
    assert [batch.next_batch for batch in stored] == ["fine"]
    assert time.monotonic() - began > 2.5  # waits of 0.5, 1 and 2 s, less the jitter
    assert asked <= 7  # and where it is told at once that there is no news, it takes its time, too


def joined(next_batch: str, *texts: str, limited: bool = False) -> tuple[int, str]:
    timeline = {"events": [written(text) for text in texts], "limited": limited, "prev_batch": "p"}
    return 200, json.dumps({"next_batch": next_batch, "rooms": {"join": {"!r:m": {"timeline": timeline}}}})


def written(text: str) -> JsonObject:
    content = {"msgtype": "m.text", "body": text}
    return {"type": "m.room.message", "event_id": f"${text}", "sender": "@alice:m", "content": content}


async def test_a_gap_that_could_not_be_read_is_read_again_with_its_sync(serve: Serve) -> None:
    gap = joined("b", "five", limited=True)
    pages = [
        (200, json.dumps({"chunk": [written("four")], "end": "q"})),
        (502, "oops"),
        (200, json.dumps({"chunk": [written("four"), written("three")], "end": "q"})),
        (200, json.dumps({"chunk": [written("two")]})),
    ]
    stored, _ = await batches(serve, [joined("a", "one"), gap, gap], pages)
    assert [batch.next_batch for batch in stored] == ["a", "b"]
    assert texts(list(stored[1].happened)) == ["two", "three", "four", "five"]


async def test_a_history_that_is_refused_leaves_a_gap_and_not_a_deaf_bot(serve: Serve) -> None:
    pages = [(403, '{"errcode": "M_FORBIDDEN", "error": "hidden"}')]
    stored, _ = await batches(serve, [joined("a", "one"), joined("b", "five", limited=True)], pages)
    assert texts(list(stored[1].happened)) == ["five"]


async def test_an_address_without_a_homeserver_is_a_wrong_setting(serve: Serve) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html>Nothing here</html>")

    here = Homeserver(await serve(page), BOT)
    with pytest.raises(ConfigError, match="MATRIX_HOMESERVER"):
        await here.sign_in(PASSWORD, None)
    await here.close()


async def test_a_locked_account_keeps_its_login(serve: Serve) -> None:
    """It is told as a soft logout; but a lock is lifted again."""
    locked = web.json_response({"errcode": "M_USER_LOCKED", "error": "locked", "soft_logout": True}, status=401)
    answers = [locked, web.json_response({"event_id": "$sent"})]

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        assert "access_token" not in request.query
        return answers.pop(0) if "/send/" in request.path else web.json_response({})

    url = await serve(answer)
    here = Homeserver(url, BOT)
    await here.sign_in("", Account(url, BOT, "D", "t"))
    with pytest.raises(Transient):
        await here.send(RoomId("!r:m"), "m.x", {}, "t1")
    assert await here.send(RoomId("!r:m"), "m.x", {}, "t1") == "$sent"
    await here.close()
