"""The daemon at its borders: wrong settings, a state that is taken, a login that is dead, a homeserver that is away."""

import contextlib
import json
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests import program
from tests.conftest import PASSWORD, MakeDaemon, MakePerson
from tests.harness import Daemon, no_settings
from tests.nursery import Nursery
from tests.patience import PATIENCE, until
from tests.person import Person


async def run_once(folder: Path, **settings: str) -> tuple[int, str, str]:
    """`roommate run` that is to end by itself: exit code, stdout, stderr."""
    ours = {**no_settings(), "STATE_DIR": str(folder / "state"), "OPERATORS": "@ann:example.org"}
    code, out, err = await program.run("run", cwd=folder, environment=ours | settings)
    return code, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "MATRIX_HOMESERVER is not set"),
        ({"MATRIX_HOMESERVER": "https://example.org"}, "MATRIX_USER is not set"),
        ({"MATRIX_HOMESERVER": "https://example.org", "MATRIX_USER": "roommate"}, "it must be a whole Matrix id"),
        ({"MATRIX_HOMESERVER": "example.org", "MATRIX_USER": "@roommate:example.org"}, "it must begin with http"),
        ({"MAX_AGENT_TURNS": "many"}, "MAX_AGENT_TURNS"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    code, out, err = await run_once(tmp_path, **settings)
    assert code == 78
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1


async def test_a_wrong_password_and_a_wrong_address_are_one_line_each(tmp_path: Path, homeserver: Synapse) -> None:
    account = await homeserver.register("forgetful", PASSWORD)
    bot = {"MATRIX_HOMESERVER": homeserver.url, "MATRIX_USER": account.user_id, "MATRIX_PASSWORD": "guess"}
    code, _, err = await run_once(tmp_path, **bot)
    assert code == 78
    assert "MATRIX_PASSWORD is not the password" in err
    assert "guess" not in err
    assert len(err.splitlines()) == 1
    code, _, err = await run_once(tmp_path, **bot | {"MATRIX_HOMESERVER": f"{homeserver.url}/somewhere/else"})
    assert code == 78
    assert "MATRIX_HOMESERVER" in err
    assert len(err.splitlines()) == 1


async def test_a_second_daemon_on_the_same_state_is_refused(daemon: MakeDaemon) -> None:
    bot = await daemon()
    code, _, err = await run_once(bot.folder, **bot.settings)
    assert code == 75
    assert "another Roommate runs" in err
    assert len(err.splitlines()) == 1
    assert bot.running


async def test_a_dead_login_ends_the_daemon_and_the_next_start_logs_in_anew(
    homeserver: Synapse, daemon: MakeDaemon, person: MakePerson
) -> None:
    bot, alice = await daemon(), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "hello")
    async with await Person.at(homeserver.url, bot.user_id, PASSWORD) as owner:
        await owner.call("POST", "logout/all", {})
        asked = await alice.say(room, "are you there?")
        assert await bot.wait_for_exit() == 77
    assert "does not take the bot's login any more" in bot.log_text()
    assert "Traceback" not in bot.log_text()

    password = bot.settings.pop("MATRIX_PASSWORD")
    await bot.spawn()
    assert await bot.wait_for_exit() == 77, "without the password there is no other way in"
    bot.settings["MATRIX_PASSWORD"] = password
    await bot.start()
    assert "logging in anew" in bot.log_text()
    assert (await alice.answer_to(asked)).body
    assert len(alice.finals(room)) == 2


async def test_json_logs_are_json_and_nothing_else(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(LOG_FORMAT="json", LOG_LEVEL="DEBUG"), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "run: echo a-secret-word")
    await bot.term()
    lines = [json.loads(line) for line in bot.log_text().splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    assert any("ready" in line["message"] for line in lines)
    assert "a-secret-word" not in bot.log_text(), "what people write is not in the log"


async def test_a_homeserver_that_is_away_at_the_start_is_waited_for(learned: Path, nursery: Nursery) -> None:
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        account = await synapse.register("bot", PASSWORD)
        await synapse.stop()
        bot = Daemon(synapse.url, account.user_id, PASSWORD, {}, learned, nursery)
        try:
            await bot.spawn()
            await bot.wait_for_log("trying again")
            assert await bot.term(5) == 0, "it can be stopped while it waits"
            await bot.spawn()
            await bot.wait_for_log("trying again")
            await synapse.start()
            await bot.wait_for_log("ready")
            await synapse.stop()
            assert await bot.term(5) == 0
        finally:
            await bot.discard()
            await synapse.stop()


HANGS = """\
#!{python} -IS
import signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if {how!r} != "at once" and sys.argv[1] == "--version":
    sys.exit(print("podman version 0"))
if {how!r} == "in a call":
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[-1].removeprefix("unix://"))
    listening.listen()
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["at once", "as a service", "in a call"])
async def test_it_stops_within_five_seconds_although_podman_hangs(
    daemon: MakeDaemon, person: MakePerson, tmp_path: Path, how: str
) -> None:
    podman = tmp_path / "podman"
    podman.write_text(HANGS.format(python=sys.executable, how=how))
    podman.chmod(0o755)
    bot, alice = await daemon(PODMAN_PATH=str(podman)), await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "run: true")
    await alice.wait(lambda: any("run_command" in m.body for m in bot.said(alice, room)), what="the call that hangs")
    await alice.say(room, "!status")
    await alice.wait(lambda: any("Podman has not answered" in m.body for m in bot.said(alice, room)), what="the status")
    assert await bot.term(5) == 0
    assert "Traceback" not in bot.log_text()
    await until(lambda: not _run_by(podman), what="the end of what hangs")


def _run_by(program: Path) -> list[str]:
    """Processes of a program, by their command lines."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(one.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(program) in line]


async def test_an_access_token_of_the_settings_is_the_login(
    homeserver: Synapse, daemon: MakeDaemon, person: MakePerson
) -> None:
    """It counts before a saved login and a password, is not stored, and a daemon is the device that it is of."""
    bot, alice = await daemon(), await person("alice")  # logs in with the password, and keeps that
    await bot.term()
    async with await Person.at(homeserver.url, bot.user_id, PASSWORD) as owner:
        bot.settings["MATRIX_ACCESS_TOKEN"] = owner.token
        await bot.start()
        room = await bot.room_with(alice)
        assert "echo" in (await alice.ask(room, "run: echo echo")).body
        assert owner.token not in bot.log_text()
        await bot.term()
        with sqlite3.connect(bot.state / "roommate.db") as database:
            assert database.execute("SELECT way FROM sync WHERE access_token != ?", (owner.token,)).fetchone() == (
                "password",
            )

        code, _, err = await run_once(bot.folder, **bot.settings | {"MATRIX_ACCESS_TOKEN": alice.token})
        assert code == 78
        assert f"MATRIX_ACCESS_TOKEN is a token of {alice.user_id}, and MATRIX_USER is {bot.user_id}" in err
        assert len(err.splitlines()) == 1
        await owner.call("POST", "logout", {})
    code, _, err = await run_once(bot.folder, **bot.settings)
    assert code == 77
    assert "does not take MATRIX_ACCESS_TOKEN" in err
    assert len(err.splitlines()) == 1


SLOW = f"""#!{sys.executable}
import sys, time

from roommate import cli

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(6)

slow = Slow()
sys.exit(cli.main())
"""


async def test_an_interpreter_that_takes_long_to_end_is_no_crash(daemon: MakeDaemon, tmp_path: Path) -> None:
    program = tmp_path / "slow-roommate"
    program.write_text(SLOW)
    program.chmod(0o755)
    bot = await daemon(start=False)
    await bot.start(program=program)
    bot.process.send_signal(signal.SIGTERM)
    await bot.wait_for_exit(PATIENCE)
    assert bot.process.returncode == 0, bot.log_text()
