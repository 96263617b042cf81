"""`roommate demo`: the whole path, twice; what stays and what does not; what is said when a part of it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import program
from tests.harness import ROOMMATE, no_settings
from tests.patience import PATIENCE
from tests.terminal import Terminal


@pytest.fixture
def new_folder(image: str) -> Iterator[Path]:
    """The demo's, with a path that is short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="rd-"))
    yield made
    assert processes_of(made) == {}
    listed = ["podman", "ps", "-aq", "--filter", f"label=io.roommate.state={made}/state"]
    assert subprocess.run(listed, capture_output=True, text=True, check=True).stdout == ""
    assert str(made) not in Path("/proc/self/mounts").read_text()
    shutil.rmtree(made)


@pytest.fixture
def folder(new_folder: Path, learned: Path) -> Path:
    """One whose daemon has found out before what this machine gives."""
    (new_folder / "state").mkdir(mode=0o700)
    shutil.copy(learned, new_folder / "state" / "host.json")
    return new_folder


def processes_of(folder: Path) -> dict[int, str]:
    """Who works in the folder, as the command line says."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command:
            found[int(process.name)] = command
    return found


def environment(image: str) -> dict[str, str]:
    return {**no_settings(), "SANDBOX_IMAGE": image}


async def demo(folder: Path, image: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    command = ("demo", "--folder", str(folder), *arguments)
    code, out, err = await program.run(*command, cwd=folder, environment=environment(image))
    return code, out.decode(), err.decode()


async def test_the_whole_path_without_a_terminal(new_folder: Path, image: str) -> None:
    folder, before = new_folder, os.umask(0o077)  # as the unit of the system has it, which changes nothing
    try:
        once = ("--once", "run: python3 --version && ls /run/spool/in && echo kept >file")
        code, out, err = await demo(folder, image, *once)
    finally:
        os.umask(before)
    assert code == 0, err
    assert "Python 3." in out
    assert "✔" not in out
    assert [step for step in ("sandbox image", "homeserver", "daemon", "room") if f"✔ {step}" not in err] == []
    assert processes_of(folder) == {}

    code, out, err = await demo(folder, image, "--keep", "--once", "run: cat file")
    assert code == 0, err
    assert "kept" in out
    running = processes_of(folder)
    assert any("synapse" in command for command in running.values())

    code, out, err = await demo(folder, image, "--keep", "--once", "run: cat file")
    assert code == 0, err
    assert {pid for pid, command in running.items() if "synapse" in command} <= processes_of(folder).keys()

    code, out, err = await demo(folder, image, "--stop")
    assert (code, out) == (0, ""), err
    assert processes_of(folder) == {}

    code, out, err = await demo(folder, image, "--reset", "--once", "run: cat file")
    assert code == 0, err
    assert "No such file" in out

    code, out, err = await demo(folder, image, "--reset", "--stop")
    assert (code, out) == (0, ""), err
    assert [path.name for path in folder.iterdir()] == ["lock"]


async def test_the_whole_path_in_a_terminal(folder: Path, image: str) -> None:
    command = [str(ROOMMATE), "demo", "--folder", str(folder)]
    async with Terminal(*command, environment=environment(image)) as terminal:
        await terminal.see("choose the homeserver http://127.0.0.1:")
        await terminal.see("I am Roommate")
        terminal.type("run: seq -s+ 3 5\r")
        await terminal.see("3+4+5")
        code, _, err = await demo(folder, image, "--once", "run: true")
        assert (code, err) == (75, f"roommate: a demo runs already in {folder}: end that one first\n")
        terminal.type("\x03")
        await terminal.see("Ctrl-C once more leaves")
        terminal.type("\x03")
        assert await terminal.ended() == 0
    assert processes_of(folder) == {}


async def test_a_dead_daemon_ends_the_chat_and_says_so(folder: Path, image: str) -> None:
    command = [str(ROOMMATE), "demo", "--folder", str(folder)]
    async with Terminal(*command, environment=environment(image)) as terminal:
        await terminal.see("I am Roommate")
        os.kill(int((folder / "daemon.pid").read_text().split()[0]), signal.SIGKILL)
        await terminal.see("roommate: the daemon has ended")
        assert await terminal.ended() == 75


async def test_a_closed_terminal_ends_everything(folder: Path, image: str) -> None:
    command = [str(ROOMMATE), "demo", "--folder", str(folder)]
    async with Terminal(*command, environment=environment(image)) as terminal:
        await terminal.see("I am Roommate")
        terminal.type("run: seq -s+ 3 5\r")
        await terminal.see("3+4+5")
        terminal.hang_up()
        assert await terminal.ended() == 130


async def test_nothing_outlives_a_killed_demo(folder: Path, image: str) -> None:
    command = [str(ROOMMATE), "demo", "--folder", str(folder)]
    async with Terminal(*command, environment=environment(image)) as terminal:
        await terminal.see("I am Roommate")
    async with asyncio.timeout(PATIENCE):  # leaving the terminal killed it
        while processes_of(folder):
            await asyncio.sleep(0.02)


async def test_a_second_daemon_that_the_first_trusts(folder: Path, image: str, learned: Path) -> None:
    (folder / "builder").mkdir(mode=0o700)
    shutil.copy(learned, folder / "builder" / "host.json")
    code, out, err = await demo(folder, image, "--mesh", "--once", "run on builder: uname -s")
    assert code == 0, err
    assert "Linux\n</peer-output>" in out
    assert "✔ second daemon" in err
    person = json.loads((folder / "demo.json").read_text())
    for state, other in (("state", "builder"), ("builder", "bot")):
        with contextlib.closing(sqlite3.connect(folder / state / "roommate.db")) as c:
            trusted = c.execute("SELECT mxid, state, rooms, changed_by FROM mesh_peers").fetchall()
        assert trusted == [(person[other], "pinned", json.dumps([person["room"]]), person["user_id"])]
    assert processes_of(folder) == {}
