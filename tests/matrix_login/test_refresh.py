"""Logins that Matrix itself lets end: on a Synapse whose access tokens end, with a way to it that can be cut."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from roommate.matrix_login import call
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD
from tests.front import Front, bearer, for_ever
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.patience import PATIENCE
from tests.person import Person

LIFE = 4
"""Seconds that a token lives which can be renewed."""


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[Synapse]:
    """A homeserver whose tokens all end, those of people in a while."""
    more = {
        "refreshable_access_token_lifetime": f"{LIFE}s",
        "nonrefreshable_access_token_lifetime": "30m",
        "login_via_existing_session": {"enabled": True, "require_ui_auth": False},
    }
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        async with Synapse(Path(folder), limits="open", more=more) as synapse:
            yield synapse


@pytest.fixture
async def front(forgetful: Synapse) -> AsyncIterator[Front]:
    async with Front(forgetful.url) as front:
        yield front


@pytest.fixture
async def bot(forgetful: Synapse, front: Front, image: str, learned: Path, nursery: Nursery) -> AsyncIterator[Daemon]:
    user_id = (await forgetful.register(f"bot-{id(front)}", PASSWORD)).user_id
    bot = Daemon(front.url, user_id, PASSWORD, {"SANDBOX_IMAGE": image}, learned, nursery)
    yield bot
    print(bot.log.read_text(errors="replace")[-20_000:] if bot.log.exists() else "")
    await bot.discard()


@pytest.fixture
async def alice(forgetful: Synapse) -> AsyncIterator[Person]:
    user_id = (await forgetful.register("alice", PASSWORD)).user_id
    async with await Person.at(forgetful.url, user_id, PASSWORD) as alice:
        yield alice


def kept(bot: Daemon) -> tuple[str, str, str]:
    with sqlite3.connect(bot.state / "roommate.db") as database:
        row: tuple[str, str, str] = database.execute(
            "SELECT access_token, refresh_token, device_id FROM sync"
        ).fetchone()
    return row


async def login_token(homeserver: Synapse, user_id: str) -> str:
    """As the page of an SSO gives it."""
    async with await Person.at(homeserver.url, user_id, PASSWORD) as owner:
        answer = await call(homeserver.url, "POST", "/_matrix/client/v1/login/get_token", {}, owner.token)
    return str(answer["login_token"])


async def test_a_token_that_ends_is_renewed_before_it_does(bot: Daemon, front: Front, alice: Person) -> None:
    await bot.start()
    first = kept(bot)
    room = await bot.room_with(alice)
    for number in range(3):
        assert (await alice.ask(room, f"question {number}")).body
        await asyncio.sleep(LIFE * 0.7)
    assert len(alice.finals(room)) == 3
    access, refresh, device = kept(bot)
    assert (access, refresh) != first[:2]
    assert device == first[2], "it is one device all the time"
    assert first[0] not in bot.log_text()
    assert first[1] not in bot.log_text()
    del bot.settings["MATRIX_PASSWORD"]
    await bot.term()
    await asyncio.sleep(LIFE)
    code, out, _ = await roommate(bot.folder, "auth", "status", "--json", **bot.settings)
    assert (code, json.loads(out)["state"]) == (0, "has run out; a start renews it")
    await bot.start()
    assert (await alice.ask(room, "and without the password?")).body
    await bot.term()
    await asyncio.sleep(LIFE)
    code, _, err = await roommate(bot.folder, "auth", "logout", **bot.settings)
    assert (code, "Logged out" in err) == (0, True), err
    async with await Person.at(front.homeserver, bot.user_id, PASSWORD) as owner:
        devices = (await owner.call("GET", "devices"))["devices"]
    assert device not in {each["device_id"] for each in devices}


@pytest.mark.parametrize("step", ["asked", "renewed", "used"])
async def test_a_crash_at_any_step_of_a_renewal_locks_nobody_out(
    bot: Daemon, front: Front, alice: Person, step: str
) -> None:
    await bot.start()
    del bot.settings["MATRIX_PASSWORD"]
    room = await bot.room_with(alice)
    killed, news = asyncio.Event(), ""

    async def kill() -> None:
        front.before = front.after = None
        bot.process.kill()
        killed.set()
        await for_ever()

    async def on_request(request: web.Request) -> web.StreamResponse | None:
        if step == "asked" and request.path.endswith("/refresh"):
            await kill()
        return None

    async def on_answer(request: web.Request, said: bytes) -> None:
        nonlocal news
        if request.path.endswith("/refresh"):
            news = json.loads(said)["access_token"]
            if step == "renewed":
                await kill()
        elif news and bearer(request) == news:
            await kill()

    front.before, front.after = on_request, on_answer
    async with asyncio.timeout(PATIENCE):
        await killed.wait()
    await bot.kill9()
    assert (kept(bot)[0] == news) == (step == "used"), "it is on the disk before it is used"
    asked = await alice.say(room, "are you there?")
    await asyncio.sleep(LIFE)
    await bot.start()
    assert (await alice.answer_to(asked)).body
    assert len(alice.finals(room)) == 1


async def test_a_soft_logout_is_answered_with_the_password_on_the_same_device(
    bot: Daemon, front: Front, alice: Person
) -> None:
    """As of a homeserver that renews nothing: there is nothing but the password then."""
    await bot.start()
    room = await bot.room_with(alice)
    device = kept(bot)[2]
    await bot.term()
    with sqlite3.connect(bot.state / "roommate.db") as database:
        database.execute("UPDATE sync SET refresh_token = NULL, expires_at = NULL")
    asked = await alice.say(room, "are you there?")
    await asyncio.sleep(LIFE)
    await bot.start()
    assert (await alice.answer_to(asked)).body
    assert kept(bot)[2] == device


async def test_a_login_token_is_good_once(bot: Daemon, front: Front, forgetful: Synapse) -> None:
    del bot.settings["MATRIX_PASSWORD"]
    code, _, err = await roommate(bot.folder, "auth", "login", "--token", "wrong", **bot.settings)
    assert code == 1
    assert "refused" in err
    assert len(err.splitlines()) == 1
    token = await login_token(forgetful, bot.user_id)
    file = bot.folder / "token"
    file.write_text(f"http://localhost/?loginToken={token}\n")
    code, _, err = await roommate(bot.folder, "auth", "login", "--token", f"@{file}", **bot.settings)
    assert code == 0, err
    assert token not in err
    code, out, _ = await roommate(bot.folder, "auth", "status", "--json", **bot.settings)
    found = json.loads(out)
    assert (found["login"], found["renewed"]) == ("login token", True)
    await asyncio.sleep(LIFE)
    await bot.start()
