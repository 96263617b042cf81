"""The daemon in the background: start, status, restart, stop, as an operator types them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import MARK, ROOMMATE, Daemon
from tests.person import Person
from tests.terminal import Terminal


async def at(daemon: Daemon, *arguments: str) -> tuple[int, str, str]:
    return await roommate(daemon.folder, *arguments, **daemon.settings, **{MARK: daemon.mark})


async def test_the_life_of_a_daemon_in_the_background(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(start=False), await person("alice")
    for command in ("status", "stop", "restart"):
        code, out, err = await at(bot, command)
        assert (code, out) == (3, ""), command
        assert "no daemon is running here" in err
        assert len(err.splitlines()) == 1
    code, out, _ = await at(bot, "status", "--json")
    assert (code, json.loads(out)["state"]) == (3, "stopped")
    code, _, err = await roommate(bot.folder, "start", **bot.settings | {"MATRIX_PASSWORD": "wrong"})
    assert code == 78
    assert "MATRIX_PASSWORD is not the password" in err

    code, out, err = await at(bot, "start")
    assert (code, out) == (0, ""), err
    found = json.loads((await at(bot, "status", "--json"))[1])
    try:
        assert found["state"] == "ready"
        assert (found["bot"], found["rooms"], found["turns"]) == (bot.user_id, 0, 0)
        assert found["syncing"]
        code, _, err = await at(bot, "start")
        assert code == 0
        assert f"runs already: process {found['pid']}" in err
        room = await bot.known_room_with(alice)
        assert (await alice.ask(room, "run: echo hello")).body

        code, out, _ = await at(bot, "status")
        lines = dict(line.split("  ", 1) for line in out.splitlines())
        assert lines["state"].strip() == "ready"
        assert lines["rooms"].strip() == "1"

        code, _, err = await at(bot, "restart")
        assert code == 0, err
        after = json.loads((await at(bot, "status", "--json"))[1])
        assert after["pid"] == found["pid"], "it is the same process"
        assert after["since"] > found["since"]
        assert (await alice.ask(room, "run: echo again")).body

        script = "; ".join(f"{ROOMMATE} {command} | true" for command in ("status", "rooms ls", "rooms ls --json"))
        shell = await asyncio.create_subprocess_shell(
            script, cwd=bot.folder, env={**os.environ, **bot.settings}, stderr=subprocess.PIPE
        )
        assert (await shell.communicate())[1] == b"", "who reads no further is no error"
        stream = Terminal(str(ROOMMATE), "status", "--watch", "--json", environment=bot.settings, columns=2000)
        async with stream as terminal:
            await terminal.see('"state": "ready"')
            terminal.type("\x03")
            assert await terminal.ended() == 0
        watch = Terminal(str(ROOMMATE), "status", "--watch", environment=bot.settings)
        async with watch as terminal:
            await terminal.see("ready")
            assert (await at(bot, "stop"))[0] == 0
            await terminal.see("not running")
            terminal.type("\x03")
            await terminal.ended()
    finally:
        if Path(f"/proc/{found['pid']}").exists():
            os.kill(found["pid"], signal.SIGKILL)
    assert (await at(bot, "status"))[0] == 3
    assert "stopped" in (bot.state / "logs" / "roommate.log").read_text()


async def test_a_restart_takes_the_release_that_the_link_leads_to_by_now(daemon: MakeDaemon, tmp_path: Path) -> None:
    """Two releases side by side, and a link to the current one, as a redeploy leaves them."""
    bot = await daemon(start=False)
    marks = tmp_path / "marks"
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        script = tmp_path / name / "roommate"
        started = f"import pathlib; pathlib.Path({str(marks)!r}).open('a').write('{name} ')\n"
        first, rest = ROOMMATE.read_text().split("\n", 1)
        script.write_text(f"{first}\n{started}{rest}")
        shutil.copymode(ROOMMATE, script)
    current = tmp_path / "current"
    current.symlink_to("old")
    await bot.start(program=current / "roommate")
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(current)
    pid = bot.pid
    code, _, err = await at(bot, "restart")
    assert code == 0, err
    assert marks.read_text().split() == ["old", "new"]
    assert bot.running
    assert bot.pid == pid
    assert await bot.term() == 0


async def test_settings_are_read_again_and_the_log_is_shown(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(), await person("alice")
    room = await bot.known_room_with(alice)
    assert "Only an operator" in (await notice(alice, bot, room, "!rooms"))
    (bot.folder / ".env").write_text(f"OPERATORS={alice.user_id}\nSANDBOX_CPUS=1\nMAX_AGENT_TURNS=3\n")
    code, out, _ = await at(bot, "reload", "--json")
    assert code == 0
    assert json.loads(out) == {"changed": ["OPERATORS", "MAX_AGENT_TURNS"], "need_restart": ["SANDBOX_CPUS"]}
    assert room in (await notice(alice, bot, room, "!rooms"))
    _, out, err = await at(bot, "reload")
    assert out == ""
    assert err.splitlines() == ["Nothing that counts at once has changed.",
                                "After a restart only (`roommate restart`): SANDBOX_CPUS."]  # fmt: skip
    (bot.folder / ".env").write_text("MAX_AGENT_TURNS=many")
    code, _, err = await at(bot, "reload")
    assert code == 78
    assert "MAX_AGENT_TURNS" in err

    other = await bot.known_room_with(alice)
    _, whole, _ = await at(bot, "logs")
    assert "ready after" in whole
    assert re.search(r" request \d+: done: daemon.reload by uid", whole)
    assert room in whole
    for named in (other, other[1:12]):
        _, only, _ = await at(bot, "logs", "--room", named)
        assert only
        assert all(other in line for line in only.splitlines())
    assert "in no room 'Nowhere'" in (await at(bot, "logs", "--room", "Nowhere"))[2]
    assert len((await at(bot, "logs", "-n", "2"))[1].splitlines()) == 2
    async with Terminal(str(ROOMMATE), "logs", "-f", environment=bot.settings, columns=200) as terminal:
        await terminal.see("ready after")
        log = bot.state / "logs" / "roommate.log"
        log.rename(log.with_name("roommate.log.1"))
        log.write_text("2026-01-01 00:00:00 INFO    written after it was rotated\n")
        await terminal.see("written after it was rotated")
        terminal.type("\x03")
        assert await terminal.ended() == 0
    unwatched = f"echo 0 >/proc/sys/user/max_inotify_instances; exec {ROOMMATE} logs -f"
    async with Terminal("unshare", "-Ur", "sh", "-c", unwatched, environment=bot.settings, columns=200) as terminal:
        await terminal.see("written after it was rotated")
        with log.open("a") as file:
            file.write("2026-01-01 00:00:01 INFO    seen without a watch\n")
        await terminal.see("seen without a watch")
        terminal.type("\x03")
        assert await terminal.ended() == 0


async def notice(person: Person, bot: Daemon, room: str, command: str) -> str:
    """What the bot answers to a command."""
    before = len(bot.said(person, room))
    await person.say(room, command)
    return (await person.wait(lambda: bot.said(person, room)[before:], what=command))[0].body
