"""Accounts that live in an authorization server: a person lets the bot in, and its tokens change for ever."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon, MakePerson
from tests.front import for_ever
from tests.harness import ROOMMATE, Daemon, no_settings
from tests.matrix_login.accounts_elsewhere import AccountsElsewhere
from tests.nursery import Child, Nursery
from tests.patience import PATIENCE, until
from tests.terminal import Terminal


@pytest.fixture
async def accounts(homeserver: Synapse) -> AsyncIterator[AccountsElsewhere]:
    async with AccountsElsewhere(homeserver.url) as server:
        yield server


class LoggingIn:
    """`roommate auth login` that waits for a person."""

    def __init__(self, process: Child, errors: Path) -> None:
        self.process = process
        self._errors = errors
        self.said = ""

    @classmethod
    async def of(cls, bot: Daemon) -> LoggingIn:
        errors = bot.folder / f"login-{secrets.token_hex(4)}"
        errors.touch()
        process = await (await Nursery.shared()).bear(
            [str(ROOMMATE), "auth", "login"],
            folder=bot.folder,
            environment={**no_settings(), **bot.settings},
            out=Path(os.devnull),
            errors=errors,
        )
        login = cls(process, errors)
        await until(login._waits, "a login that waits")
        return login

    def _waits(self) -> bool:
        assert self.process.returncode is None, self._errors.read_text()
        self.said = "".join(self._errors.read_text().partition("Waiting")[:2])
        return self.said.endswith("Waiting")

    @property
    def code(self) -> str:
        found = re.search(r"The code is (\w+)", self.said)
        assert found, self.said
        return found[1]

    async def ended(self) -> tuple[int, str]:
        """Its code, and what it has said since it waited."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
        return code, self._errors.read_text().removeprefix(self.said).partition("\n")[2]


async def at(accounts: AccountsElsewhere, daemon: MakeDaemon) -> Daemon:
    bot = await daemon(start=False, MATRIX_HOMESERVER=accounts.url)
    del bot.settings["MATRIX_PASSWORD"]
    return bot


async def let_in(accounts: AccountsElsewhere, bot: Daemon) -> None:
    login = await LoggingIn.of(bot)
    await accounts.let_in(login.code, bot.user_id, PASSWORD)
    code, said = await login.ended()
    assert code == 0, said


def kept(bot: Daemon) -> tuple[str, str]:
    """Access and refresh token, as they are on the disk."""
    with sqlite3.connect(bot.state / "roommate.db") as database:
        access, refresh = database.execute("SELECT access_token, refresh_token FROM sync").fetchone()
    return access, refresh


async def test_a_person_lets_the_bot_in(accounts: AccountsElsewhere, daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await at(accounts, daemon), await person("alice")
    await bot.spawn()
    assert await bot.wait_for_exit() == 78
    assert "run `roommate auth login`" in bot.log_text()

    login = await LoggingIn.of(bot)
    assert f"{accounts.url}/link?code={login.code}" in login.said
    await asyncio.sleep(1)  # it asks again and again, as often as it may
    await accounts.let_in(login.code, bot.user_id, PASSWORD)
    code, said = await login.ended()
    assert code == 0, said
    assert f"Logged in as {bot.user_id}" in said
    assert not (set(accounts.access) | set(accounts.refresh)) & set(re.findall(r"\w+", said))
    code, out, _ = await roommate(bot.folder, "auth", "status", "--json", **bot.settings)
    found = json.loads(out)
    assert (code, found["login"], found["state"], found["renewed"]) == (0, "OAuth", "good", True)
    assert found["user"] == bot.user_id
    code, out, _ = await roommate(bot.folder, "auth", "status", **bot.settings)
    assert re.search(r"token +ends .*, in \d+ min.*, renewed before that", out), out
    assert not (set(accounts.access) | set(accounts.refresh)) & set(re.findall(r"\w+", out))

    await bot.start()
    room = await bot.room_with(alice)
    assert (await alice.ask(room, "hello")).body
    for command in ("login", "logout"):
        code, _, err = await roommate(bot.folder, "auth", command, **bot.settings)
        assert code == 75
        assert "roommate stop" in err
    await bot.term()

    code, _, err = await roommate(bot.folder, "auth", "logout", **bot.settings)
    assert (code, "Logged out" in err) == (0, True), err
    assert not accounts.access[accounts.newest()].good, "it is dead at the server, too"
    code, out, _ = await roommate(bot.folder, "auth", "status", **bot.settings)
    assert code == 1
    assert "none" in out


async def test_nobody_lets_it_in(accounts: AccountsElsewhere, daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await at(accounts, daemon), await person("alice")
    login = await LoggingIn.of(bot)
    accounts.turn_away(login.code)
    assert await login.ended() == (1, "roommate: the login was refused in the browser\n")

    login = await LoggingIn.of(bot)
    await accounts.let_in(login.code, alice.user_id, "a test's password")
    code, said = await login.ended()
    assert code == 78
    assert f"a login of {alice.user_id}, and MATRIX_USER is {bot.user_id}" in said
    assert not accounts.access[accounts.newest()].good, "nothing is left behind"


async def test_names_from_before_the_specification(
    homeserver: Synapse, accounts: AccountsElsewhere, daemon: MakeDaemon
) -> None:
    async with AccountsElsewhere(homeserver.url, stable=False) as older:
        await let_in(older, await at(older, daemon))
    accounts.knows_stable_scopes = False
    await let_in(accounts, await at(accounts, daemon))


async def test_a_terminal_shows_a_picture(accounts: AccountsElsewhere, daemon: MakeDaemon) -> None:
    bot = await at(accounts, daemon)
    command = ("/bin/sh", "-c", f"cd {bot.folder} && exec {ROOMMATE} auth login")
    async with Terminal(*command, environment={**no_settings(), **bot.settings}) as terminal:
        await terminal.see("Waiting")
        assert "▄▄▄▄▄" in terminal.screen.text
        assert "/link?code=" in terminal.screen.text
        terminal.type("\x03")
        assert await terminal.ended() == 130


@pytest.mark.parametrize("step", ["asked", "renewed", "answered", "about to be used", "used"])
async def test_a_crash_at_any_step_of_a_renewal_locks_nobody_out(
    accounts: AccountsElsewhere, daemon: MakeDaemon, person: MakePerson, step: str
) -> None:
    bot, alice = await at(accounts, daemon), await person("alice")
    await let_in(accounts, bot)
    await bot.start()
    room = await bot.room_with(alice)
    await alice.ask(room, "hello")
    before, killed = accounts.newest(), asyncio.Event()

    async def kill() -> None:
        accounts.before = accounts.after = None
        bot.process.kill()
        killed.set()

    async def on_request(request: web.Request) -> web.StreamResponse | None:
        renewing = request.path == "/oauth/token"
        if (step == "asked" and renewing) or (step == "about to be used" and accounts.newest() in str(request.headers)
                                              and accounts.newest() != before):  # fmt: skip
            await kill()
            await for_ever()
        return None

    async def on_answer(request: web.Request, _: bytes) -> None:
        renewing = request.path == "/oauth/token"
        if step == "renewed" and renewing:
            await kill()
            await for_ever()
        elif step == "answered" and renewing:
            asyncio.get_running_loop().call_later(0.001, lambda: asyncio.ensure_future(kill()))
        elif step == "used" and accounts.newest() != before and not renewing:
            await kill()
            await for_ever()

    accounts.before, accounts.after = on_request, on_answer
    accounts.run_out()
    asked = await alice.say(room, "are you there?")
    async with asyncio.timeout(PATIENCE):
        await killed.wait()
    await bot.kill9()
    if "used" in step:
        assert kept(bot)[0] == accounts.newest() != before, "it is on the disk before it is used"
    accounts.run_out()
    await bot.start()
    assert (await alice.answer_to(asked)).body
    assert len(alice.finals(room)) == 2
    accounts.run_out()
    assert (await alice.ask(room, "and now?")).body, "it goes on from there"


async def test_a_start_that_is_tried_again_uses_what_the_first_try_renewed(
    accounts: AccountsElsewhere, daemon: MakeDaemon
) -> None:
    bot = await at(accounts, daemon)
    await let_in(accounts, bot)
    before = accounts.newest()
    accounts.run_out()

    async def away(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith("/whoami") and accounts.newest() != before and accounts.token(request):
            accounts.before = None
            return web.json_response({}, status=502)
        return None

    accounts.before = away
    await bot.spawn()
    await bot.wait_for_log("trying again")
    accounts.run_out()
    await bot.wait_for_log("ready")
    assert accounts.renewals == 2


async def test_tokens_that_end_all_the_time_lose_nothing(
    accounts: AccountsElsewhere, daemon: MakeDaemon, person: MakePerson
) -> None:
    """Syncs, answers and edits go on while tokens end under them."""
    bot, alice = await at(accounts, daemon), await person("alice")
    await let_in(accounts, bot)
    await bot.start()
    rooms = [await bot.room_with(alice) for _ in range(3)]

    async def end_them() -> None:
        while True:
            accounts.run_out()
            await asyncio.sleep(0.7)

    ending = asyncio.create_task(end_them())
    asked = 0

    def answered() -> bool:
        return all(len(alice.finals(room)) >= asked for room in rooms)

    while asked < 4 or accounts.renewals <= 3:
        for room in rooms:
            await alice.say(room, f"question {asked}")
        asked += 1
        await alice.wait(answered, what="an answer to each")
    ending.cancel()
    assert [len(alice.finals(room)) for room in rooms] == [asked] * 3
    assert "Traceback" not in bot.log_text()
    assert not any(token in bot.log_text() for token in (*accounts.access, *accounts.refresh))


async def test_a_login_that_was_ended_elsewhere_ends_the_daemon(
    accounts: AccountsElsewhere, daemon: MakeDaemon, person: MakePerson
) -> None:
    bot, alice = await at(accounts, daemon), await person("alice")
    await let_in(accounts, bot)
    await bot.start()
    room = await bot.room_with(alice)
    accounts.access[accounts.newest()].session.alive = False
    asked = await alice.say(room, "are you there?")
    assert await bot.wait_for_exit(PATIENCE) == 77
    assert "`roommate auth login` makes a new one" in bot.log_text()
    await let_in(accounts, bot)
    await bot.start()
    assert (await alice.answer_to(asked)).body
