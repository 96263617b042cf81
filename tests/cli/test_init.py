"""`roommate init`: by flags alone, and as a person answers it at a terminal."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from roommate.settings import config
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD
from tests.harness import ROOMMATE, no_settings
from tests.matrix_login.accounts_elsewhere import AccountsElsewhere
from tests.person import Person
from tests.scripted_model import ScriptedModel
from tests.terminal import Terminal


@pytest.fixture
async def website(homeserver: Synapse) -> AsyncIterator[str]:
    """A server that is no homeserver, and knows where one is."""

    async def well_known(request: web.Request) -> web.Response:
        return web.json_response({"m.homeserver": {"base_url": f"{homeserver.url}/"}})

    app = web.Application()
    app.router.add_get("/.well-known/matrix/client", well_known)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def fresh_name() -> str:
    return f"init-{secrets.token_hex(4)}"


async def test_flags_say_all(homeserver: Synapse, website: str, tmp_path: Path) -> None:
    name, secret = fresh_name(), tmp_path / "secret"
    secret.write_text(f"{homeserver.registration_secret}\n")
    flags = ("--yes", "--homeserver", website, "--user", name, "--operators", "@ann:localhost, @bob:localhost")
    code, out, err = await roommate(tmp_path, "init", *flags, "--registration-secret", f"@{secret}")
    assert (code, out) == (0, ""), err
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "scripts/install-service.sh" in err
    settings = config.load(file)
    assert settings.matrix_homeserver == homeserver.url
    assert settings.bot == f"@{name}:localhost"
    assert settings.operators == ("@ann:localhost", "@bob:localhost")
    assert settings.llm_model == "rehearsal"
    assert "ALLOWED_USERS" not in file.read_text()
    password = settings.matrix_password.get_secret_value()
    assert len(password) > 20
    assert password not in err
    assert homeserver.registration_secret not in err
    await (await Person.at(homeserver.url, settings.bot, password)).close()

    # Again: what is there is taken, tried, and stays.
    before = file.read_text()
    code, _, err = await roommate(tmp_path, "init", "--yes")
    assert code == 0, err
    assert file.read_text() == before
    code, _, err = await roommate(tmp_path, "init", "--yes", "--password", "wrong")
    assert code == 1
    assert "Invalid username or password" in err
    assert file.read_text() == before


async def test_what_is_missing_is_named(homeserver: Synapse, tmp_path: Path) -> None:
    for flags, words in (
        ((), "--homeserver"),
        (("--homeserver", "http://127.0.0.1:1"), "does not answer"),
        (("--homeserver", homeserver.url, "--user", "nobody"), "--register"),
        (("--homeserver", homeserver.url, "--user", fresh_name(), "--register"), "lets nobody register"),
    ):
        code, _, err = await roommate(tmp_path, "init", "--yes", *flags)
        assert code in (1, 78)
        assert words in err
        assert "Traceback" not in err


async def test_a_person_is_asked_for_what_is_missing_only(homeserver: Synapse, tmp_path: Path) -> None:
    """What scripts/setup-synapse.sh writes has no model; a model may be there without its key."""
    path = tmp_path / ".env"
    known = f"MATRIX_HOMESERVER={homeserver.url}\nMATRIX_USER=@a:localhost\nMATRIX_PASSWORD=a\nOPERATORS=@b:localhost\n"
    environment = dict.fromkeys(os.environ.keys() - no_settings().keys(), "")
    command = (str(ROOMMATE), "init", "--missing", "--env-file", str(path))
    async with ScriptedModel(key="the-key") as model:
        path.write_text(known)
        async with Terminal(*command, environment=environment) as terminal:
            await terminal.see("Model, by its")
            terminal.type("openai/scripted\r")
            await terminal.see("Its key")
            await terminal.until_hidden()
            terminal.type("the-key\r")
            await terminal.see("Base URL")
            terminal.type(f"{model.url}\r")
            await terminal.see("openai/scripted answers")
            assert await terminal.ended() == 0
            assert "Homeserver" not in terminal.screen.text
            assert "Operators" not in terminal.screen.text
        whole = path.read_text()
        assert whole == f"{known}LLM_MODEL=openai/scripted\nLLM_API_KEY=the-key\nLLM_API_BASE={model.url}\n"

        async with Terminal(*command, environment=environment) as terminal:
            assert await terminal.ended() == 0
            assert terminal.screen.text.strip() == ""
        assert path.read_text() == whole

        path.write_text(f"{known}LLM_MODEL=openai/scripted\n")
        async with Terminal(*command, environment=environment) as terminal:
            await terminal.see("Its key")
            await terminal.until_hidden()
            terminal.type("the-key\r")
            await terminal.see("Base URL")
            terminal.type(f"{model.url}\r")
            await terminal.see("openai/scripted answers")
            assert await terminal.ended() == 0
            assert "Model, by its" not in terminal.screen.text
        assert path.read_text() == whole

    # Where nobody can be asked, what is there is enough, or named.
    path.write_text(known)
    assert await roommate(tmp_path, "init", "--missing") == (0, "", "")
    assert path.read_text() == known
    path.write_text("OPERATORS=@b:localhost\n")
    code, _, err = await roommate(tmp_path, "init", "--missing")
    assert (code, "which homeserver?" in err) == (78, True)


async def test_a_person_is_asked_until_it_is_right(homeserver: Synapse, tmp_path: Path) -> None:
    name, password = fresh_name(), "it's # a ${NO}"
    await homeserver.register(name, password)
    (tmp_path / ".env").write_text("# Ours.\nMAX_AGENT_TURNS=7 # enough\n")
    environment = dict.fromkeys(os.environ.keys() - no_settings().keys(), "")
    async with ScriptedModel(key="the-key") as model:
        path = str(tmp_path / ".env")
        async with Terminal(
            str(ROOMMATE), "init", "--env-file", path, "--image", "none", environment=environment
        ) as terminal:
            await terminal.see("Homeserver")
            terminal.type("127.0.0.1:1\r")
            await terminal.see("does not answer")
            terminal.type(f"{homeserver.url}\r")
            await terminal.see("user name")
            terminal.type(f"{name}\r")
            await terminal.see("Enter registers a new account")
            await terminal.until_hidden()
            terminal.type(f"{password}\r")
            await terminal.see(f"@{name}:localhost can log in")
            await terminal.see("Operators")
            terminal.type("ann\r")
            await terminal.see("who is operator?")
            terminal.type("@ann:localhost\r")
            await terminal.see("globs")
            terminal.type("\r")
            await terminal.see("Model, by its")
            terminal.type("openai/scripted\r")
            await terminal.see("Its key")
            await terminal.until_hidden()
            terminal.type("another-key\r")
            await terminal.see("Base URL")
            terminal.type(f"{model.url}\r")
            await terminal.see("✘ The provider does not take the key")
            await terminal.see("(openai/scripted)")
            terminal.type("\r")
            await terminal.see("needs no key (openai/scripted):\nIts key:")
            await terminal.until_hidden()
            terminal.type("the-key\r")
            await terminal.see(f"({model.url})")
            terminal.type("\r")
            await terminal.see("openai/scripted answers")
            await terminal.see("is written")
            assert await terminal.ended() == 0
            assert password not in terminal.screen.text
            assert "the-key" not in terminal.screen.text
    text = (tmp_path / ".env").read_text()
    assert text.startswith("# Ours.\nMAX_AGENT_TURNS=7 # enough\n")
    settings = config.load(tmp_path / ".env")
    assert settings.matrix_password.get_secret_value() == password
    assert settings.llm_api_key.get_secret_value() == "the-key"
    assert settings.llm_api_base == model.url


async def test_a_login_in_a_browser_is_kept_for_the_daemon(homeserver: Synapse, tmp_path: Path) -> None:
    name = fresh_name()
    user_id = (await homeserver.register(name, PASSWORD)).user_id
    state = tmp_path / "state"
    environment = dict.fromkeys(os.environ.keys() - no_settings().keys(), "") | {"STATE_DIR": str(state)}
    async with AccountsElsewhere(homeserver.url) as accounts:
        path = str(tmp_path / ".env")
        command = (str(ROOMMATE), "init", "--env-file", path, "--image", "none", "--model", "rehearsal")
        flags = ("--operators", "@ann:localhost", "--allowed-users", "*")
        async with Terminal(*command, *flags, environment=environment) as terminal:
            await terminal.see("Homeserver")
            terminal.type(f"{accounts.url}\r")
            await terminal.see("Waiting")
            assert "▄▄▄▄▄" in terminal.screen.text
            found = re.search(r"The code is (\w+)", terminal.screen.text)
            assert found
            await accounts.let_in(found[1], user_id, PASSWORD)
            await terminal.see(f"{user_id} is logged in, by OAuth")
            await terminal.see("is written")
            assert await terminal.ended() == 0
        settings = config.load(tmp_path / ".env", state_dir=state)
        assert (settings.bot, settings.matrix_password.get_secret_value()) == (user_id, "")
        assert not any(token in (tmp_path / ".env").read_text() for token in (*accounts.access, *accounts.refresh))
        # Again, with nobody to ask: what is there works, also when its token has run out.
        accounts.run_out()
        code, _, err = await roommate(tmp_path, "init", "--yes", "--image", "none", STATE_DIR=str(state))
        assert code == 0, err
        assert "is logged in, by OAuth" in err
        code, out, _ = await roommate(tmp_path, "doctor", STATE_DIR=str(state))
        assert "renewed at the next start" in out


async def test_an_access_token(homeserver: Synapse, tmp_path: Path) -> None:
    account = await homeserver.register(fresh_name(), PASSWORD)
    flags = ("--yes", "--homeserver", homeserver.url, "--operators", "@ann:localhost", "--image", "none")
    code, _, err = await roommate(tmp_path, "init", *flags, "--access-token", "syt_wrong")
    assert code == 77
    assert "syt_wrong" not in err
    file = tmp_path / "token"
    file.write_text(account.access_token)
    code, _, err = await roommate(tmp_path, "init", *flags, "--access-token", f"@{file}")
    assert code == 0, err
    settings = config.load(tmp_path / ".env")
    assert (settings.bot, settings.matrix_access_token.get_secret_value()) == (account.user_id, account.access_token)
    code, out, _ = await roommate(tmp_path, "auth", "status")
    assert code == 0
    assert "by MATRIX_ACCESS_TOKEN" in out
    assert account.device_id in out
    code, _, err = await roommate(tmp_path, "auth", "logout")
    assert (code, "take it out of the settings" in err) == (78, True)
