"""The commands around the daemon: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from roommate import __version__
from roommate.cli import declared_commands
from roommate.cli.help_panels import PANELS
from roommate.composition.features import DECLARED
from roommate.demo.embedded_synapse import Synapse
from roommate.doors import reference
from tests import program
from tests.conftest import PASSWORD, MakeDaemon
from tests.person import Person


async def roommate(cwd: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; with no other settings than these."""
    environment = {"HOME": str(cwd), "PATH": program.PATH, **settings}
    code, out, err = await program.run(*arguments, cwd=cwd, environment=environment)
    return code, out.decode(), err.decode()


@pytest.mark.slow
async def test_version_and_help(tmp_path: Path) -> None:
    assert await roommate(tmp_path, "--version") == (0, f"{__version__}\n", "")
    code, out, _ = await roommate(tmp_path, "--help")
    assert code == 0
    assert [name for name in ("run", "demo", "chat", "send", "doctor", "image") if name not in out] == []
    assert (await roommate(tmp_path, "dance"))[0] == 2


async def test_what_asks_other_daemons_ends_with_codes_of_its_own(tmp_path: Path) -> None:
    """Others than a program there is likely to end with."""
    for words in (
        *("ping", "ping x --nope", "who", "share ls", "share get x", "share put", "call", "exec --peer x"),
        *("share get --peer x --json a", "share put --peer x none a", "share get --peer x a none/b"),
    ):
        assert (words, (await roommate(tmp_path, *words.split()))[0]) == (words, 64)
    for words in ("ping x", "who x", "share ls x", "share get --peer x a b", "call --peer x a", "exec --peer x -- a"):
        code, _, err = await roommate(tmp_path, *words.split(), STATE_DIR=str(tmp_path))
        assert (words, code, "no daemon is running" in err) == (words, 255, True)


async def test_a_command_that_has_others_below_it_is_asked_for_by_itself(tmp_path: Path) -> None:
    for words in ("identity", "identity --json", "identity rotate"):
        code, _, err = await roommate(tmp_path, *words.split(), STATE_DIR=str(tmp_path))
        assert (words, code, "no daemon is running" in err) == (words, 3, True)
    assert "--json" in (await roommate(tmp_path, "identity", "--help"))[1]


async def test_a_wrong_setting_is_one_line_and_78(tmp_path: Path) -> None:
    code, out, err = await roommate(tmp_path, "run")
    assert (code, out) == (78, "")
    assert "MATRIX_HOMESERVER is not set" in err
    assert err.count("\n") == 1

    (tmp_path / ".env").write_text("MAX_AGENT_TURNS=many\nMATRIX_PASSWORD=secret\n")
    code, out, err = await roommate(tmp_path, "run", MATRIX_USER="roommate")
    assert (code, out) == (78, "")
    assert "; MAX_AGENT_TURNS: " in err
    assert err.count("\n") == 1
    assert "secret" not in err


async def test_doctor_finds_what_is_wrong(tmp_path: Path, image: str) -> None:
    state, sockets = tmp_path / "state", Path(tempfile.mkdtemp(prefix="rm-"))
    state.mkdir(mode=0o755)
    settings = {
        "MATRIX_HOMESERVER": "http://127.0.0.1:1",
        "MATRIX_USER": "@bot:localhost",
        "STATE_DIR": str(state),
        "IPC_BASE_DIR": str(sockets),
        "SANDBOX_IMAGE": image,
    }
    code, out, _ = await roommate(tmp_path, "doctor", "--json", **settings)
    assert code == 2
    checks = {check["what"]: check for check in json.loads(out)}
    assert [name for name, check in checks.items() if check["level"] == "fail"] == ["state folder", "homeserver"]
    assert "chmod 700" in checks["state folder"]["mend"]
    assert "connection refused" in checks["homeserver"]["found"]
    assert checks["image"]["level"] == "ok"

    # What it finds on the host it mends, where that is safe; then a container is asked what it may use.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(sockets / "daemon.sock"))
    (tmp_path / ".env").write_text("LLM_MODEL=rehearsal\n")
    (tmp_path / ".env").chmod(0o644)
    code, out, err = await roommate(tmp_path, "doctor", "--fix", "--probe", **settings)
    assert code == 2, "the homeserver it cannot mend"
    for done in (f"chmod 700 {state}", "chmod 600 .env", f"made {state / 'backups'}", "removed the socket"):
        assert done in err, err
    assert "✘ homeserver" in out
    assert "→ " in out
    assert "✔ state folder" in out
    assert "✔ secrets" in out
    assert "✔ model's answer" in out
    assert re.search(r"process limit, as a container has it: 512 processes$", out, re.MULTILINE), out
    assert (await roommate(tmp_path, "doctor", "--fix", **settings))[2] == "", "nothing is left to mend"
    shutil.rmtree(sockets)


async def test_the_images_are_shown(tmp_path: Path, image: str) -> None:
    code, out, _ = await roommate(tmp_path, "image", "ls", "--json")
    assert code == 0
    shown = {one["name"]: one for one in json.loads(out)}[image]
    assert (shown["stage"], shown["agents"]) == ("base", {})
    assert shown["size"] > 100_000_000
    code, out, _ = await roommate(tmp_path, "image", "ls", SANDBOX_IMAGE=image, COLUMNS="200")
    assert re.search(rf"{re.escape(image)} ← SANDBOX_IMAGE +base", out)
    code, _, err = await roommate(tmp_path, "image", "build", "--stage", "attic", SANDBOX_IMAGE=image)
    assert (code, "there is no stage 'attic'" in err) == (1, True)


async def test_doctor_knows_the_login(homeserver: Synapse, daemon: MakeDaemon, tmp_path: Path) -> None:
    one = await daemon()

    async def found() -> dict[str, str]:
        _, out, _ = await roommate(tmp_path, "doctor", "--json", **one.settings)
        return {check["what"]: check["found"] for check in json.loads(out)}

    checks = await found()
    assert "a daemon runs on it" in checks["state folder"]
    assert checks["login"].startswith(f"{one.user_id}, device "), "it is read beside the daemon"
    assert re.fullmatch(r"\d+ s ago", checks["sync"])
    assert checks["clock"] == "as the homeserver's"
    assert checks["rate limit"] == "none was met"
    assert re.fullmatch(r"\d+ MiB a file", checks["upload limit"])
    assert "listens on" in checks["socket"]
    assert "there is none" in checks["backup"]
    assert checks["homeserver"].startswith(f"{homeserver.url} speaks Matrix v1.")
    await one.term()
    assert (await found())["login"].startswith(f"{one.user_id}, device ")
    async with await Person.at(homeserver.url, one.user_id, PASSWORD) as somebody:
        await somebody.call("POST", "logout/all", {})
    assert (await found())["login"] == "the homeserver does not take the token any more"


def test_help_has_a_panel_for_every_command() -> None:
    listing = (
        "from typer.main import get_command; from roommate.cli.app import complete; "
        "print(*(name for name, one in get_command(complete()).commands.items() if not one.hidden))"
    )  # in a process of its own: it adds to what all of this one's tests have
    everything = subprocess.run((sys.executable, "-c", listing), check=True, capture_output=True, text=True).stdout
    placed = [name for names in PANELS.values() for name in names]
    assert sorted(placed) == sorted(everything.split())


def test_the_document_and_help_have_what_is_declared() -> None:
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    text = page.read_text()
    anew = "run scripts/commands"
    assert text == reference.written(text, DECLARED), anew
    assert json.loads(declared_commands.FILE.read_text("utf-8")) == reference.for_help(DECLARED), anew
