"""What operators do from the command line, against a daemon with rooms, a person in them, and containers."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tests import program
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import ROOMMATE, Daemon
from tests.patience import until
from tests.scripted_model import ScriptedModel
from tests.terminal import Terminal


async def run(bot: Daemon, *arguments: str, stdin: bytes = b"", stands: Path | None = None) -> tuple[int, bytes, str]:
    """Exit code, stdout, stderr."""
    environment = {
        "HOME": str(bot.folder),
        "PATH": program.PATH,
        **bot.settings,
        "ROOMMATE_FROM": str(stands or bot.folder),
    }
    code, out, err = await program.run(*arguments, cwd=bot.folder, environment=environment, stdin=stdin)
    return code, out, err.decode()


async def done(bot: Daemon, *arguments: str, stdin: bytes = b"", stands: Path | None = None) -> str:
    """stdout of what must work."""
    code, out, err = await run(bot, *arguments, stdin=stdin, stands=stands)
    assert code == 0, f"{arguments}: {err}"
    return out.decode()


async def found(bot: Daemon, *arguments: str) -> Any:
    return json.loads(await done(bot, *arguments, "--json"))


async def test_rooms_turns_and_questions(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    bot, alice = await daemon(model=model, OPENAI_API_KEY="sk-secret"), await person("alice")
    room = await bot.known_room_with(alice, name="Workshop")
    other = await bot.known_room_with(alice, name="\x1b]0;mine\x07[/] room")
    assert (await alice.ask(room, "SAY hello")).body.startswith("hello")

    rooms = {one["room_id"]: one for one in await found(bot, "rooms", "ls")}
    assert rooms.keys() == {room, other}
    assert rooms[room] | {"name": "Workshop", "members": 2, "turns": [], "waiting": 0, "paused": ""} == rooms[room]
    listed = await done(bot, "rooms", "ls")
    assert "Workshop" in listed and "[/] room" in listed and "\x1b" not in listed
    unmarked = room[1:9] if room[1] != "-" else room[:9]  # a dash begins an option
    for named in (room, room[:8], unmarked, "Workshop"):
        assert (await found(bot, "rooms", "show", named))["line"]["room_id"] == room
    assert "turns: 1" in await done(bot, "rooms", "show", "Workshop")
    code, out, err = await run(bot, "rooms", "show", "Nowhere")
    assert (code, out) == (1, b"")
    assert err == "roommate: the bot is in no room 'Nowhere': `roommate rooms ls` shows those that it is in\n"

    assert "nobody can be spoken for" in (await run(bot, "send", "Workshop", "hello"))[2]

    # Paused from here, told there, and gone on with.
    await done(bot, "rooms", "pause", "Workshop")
    asked = await alice.say(room, "SAY later")
    await alice.wait(lambda: any("Paused by root" in m.body for m in bot.said(alice, room)), what="to be told")
    assert (await found(bot, "status"))["waiting"] == 1
    await done(bot, "rooms", "resume", room)
    assert (await alice.answer_to(asked)).body.startswith("later")
    await done(bot, "rooms", "pause")
    assert "root" in (await found(bot, "status"))["paused"]
    await done(bot, "rooms", "resume")
    assert "not paused" in await done(bot, "rooms", "resume")

    # A turn that runs, seen and stopped from here.
    asked = await alice.say(room, "SAY at-work\nDELAY 60\nSAY never")
    await alice.wait(lambda: any("at-work" in m.body for m in bot.said(alice, room)), what="the turn")
    [turn, *_] = await found(bot, "turns", "ls", "Workshop")
    assert (await found(bot, "status"))["turns"] == 1
    await done(bot, "turns", "cancel", str(turn["id"]))
    assert "Stopped by root on the host" in (await alice.answer_to(asked)).body
    assert "stopped" in await done(bot, "turns", "ls", "-n", "1")

    # A question, answered from here as a reaction answers it.
    await alice.say(room, "!reset workspace")
    await alice.wait(lambda: any("every file" in m.body for m in bot.said(alice, room)), what="the card")
    [question] = await found(bot, "approvals", "ls")
    assert (await done(bot, "approvals", "deny", str(question["id"]))).endswith(", nothing was deleted\n")
    await alice.wait(lambda: any("nothing was deleted" in m.body for m in bot.said(alice, room)), what="the word")
    code, _, err = await run(bot, "approvals", "approve", str(question["id"]))
    assert code == 1
    assert "no open question" in err

    shown = {one["name"]: one for one in await found(bot, "settings")}
    assert shown["STATE_DIR"]["value"] == str(bot.state)
    assert shown["OPENAI_API_KEY"]["value"] == "********"
    assert shown["MAX_AGENT_TURNS"] == {"name": "MAX_AGENT_TURNS", "value": "25", "default": True}
    assert "sk-secret" not in await done(bot, "settings")

    await done(bot, "rooms", "leave", other)
    await alice.wait_for_member(other, bot.user_id, "leave")
    deeds = [json.loads(line) for line in (await done(bot, "audit", "--json")).splitlines()]
    ours = [one["what"] for one in deeds if (one["who"], one["via"]) == ("uid 0", "socket")]
    assert ours == ["pause", "resume", "pause", "resume", "turn.cancel", "card.reset-workspace", "room.leave"]


async def test_containers_and_files(daemon: MakeDaemon, person: MakePerson, tmp_path: Path) -> None:
    bot, alice = await daemon(), await person("alice")
    await bot.known_room_with(alice, name="Files")
    code, out, err = await run(bot, "sandbox", "exec", "Files", "sh", "-c", "cat; echo err >&2; exit 7", stdin=b"in\n")
    assert (code, out, err) == (7, b"in\n", "err\n")
    [one] = await found(bot, "sandbox", "ls")
    assert one["up"]
    assert "running" in one["about"]

    content = bytes(range(256)) * 20_000  # more than a piece
    (tmp_path / "local").write_bytes(content)
    await done(bot, "workspace", "put", "Files", str(tmp_path / "local"), "folder/inside")
    await done(bot, "workspace", "put", "Files", "-", "/workspace/said", stdin=b"hello")
    code, out, _ = await run(bot, "workspace", "get", "Files", "folder/inside")
    assert (code, out == content) == (0, True)
    await done(bot, "workspace", "get", "Files", "said", str(tmp_path))
    assert (tmp_path / "said").read_bytes() == b"hello"
    code, _, err = await run(bot, "workspace", "get", "Files", "missing")
    assert code == 1
    assert len(err.splitlines()) == 1

    # The command of an install folder goes there, and says where it came from: what is typed begins here all the same.
    stands = tmp_path / "stands"
    stands.mkdir()
    (stands / "note.txt").write_text("a note")
    await done(bot, "workspace", "put", "Files", "note.txt", "note.txt", stands=stands)
    await done(bot, "workspace", "get", "Files", "note.txt", "back.txt", stands=stands)
    await done(bot, "workspace", "get", "Files", "note.txt", "./", stands=stands)
    await done(bot, "workspace", "export", "Files", "files.tar.gz", stands=stands)
    assert sorted(path.name for path in stands.iterdir()) == ["back.txt", "files.tar.gz", "note.txt"]
    assert (stands / "back.txt").read_text() == "a note"
    code, _, err = await run(bot, "workspace", "get", "Files", "missing", "back.txt", stands=stands)
    assert (code, (stands / "back.txt").read_text()) == (1, "a note"), "what cannot be had replaces nothing"
    for missing in (
        ("workspace", "put", "Files", "nowhere.txt", "x"),
        ("workspace", "import", "Files", "nowhere.tar"),
        ("workspace", "get", "Files", "note.txt", "nowhere/back.txt"),
        ("workspace", "export", "Files", "nowhere/all.tar"),
        ("backup", "verify", "nowhere.tar.gz"),
        ("backup", "verify", "."),
        ("restore", "nowhere.tar.gz", "--to", "empty"),
        ("init", "--yes", "--homeserver", bot.settings["MATRIX_HOMESERVER"], "--password", "@nowhere"),
    ):
        code, _, err = await run(bot, *missing, stands=stands)
        said = [line for line in err.splitlines() if not line.startswith("✔")]
        assert (code != 0, len(said), str(stands) in err) == (True, 1, True), err
    shutil.rmtree(stands)

    await done(bot, "workspace", "export", "Files", str(tmp_path / "all.tar.gz"))
    with tarfile.open(tmp_path / "all.tar.gz") as archive:
        inside = archive.extractfile("./folder/inside")
        assert inside is not None
        assert inside.read() == content
    with tarfile.open(tmp_path / "new.tar", "w") as archive:
        entry = tarfile.TarInfo("imported/file")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"new"))
    await done(bot, "workspace", "import", "Files", str(tmp_path / "new.tar"))
    assert await done(bot, "sandbox", "exec", "Files", "cat", "imported/file", "said") == "newhello"
    assert await done(bot, "sandbox", "exec", "Files", "--", "sh", "-c", "ls -A | grep import") == "imported\n"
    code, _, err = await run(bot, "workspace", "import", "Files", "-", stdin=b"this is no tar")
    assert code == 1
    assert re.fullmatch(r"roommate: tar: .+\n", err)
    [disk] = await found(bot, "sandbox", "disk")
    assert disk["used"] > len(content)

    code, _, err = await run(bot, "sandbox", "shell", "Files")
    assert code == 1
    assert "needs a terminal" in err

    await done(bot, "sandbox", "stop", "Files")
    assert not (await found(bot, "sandbox", "ls"))[0]["up"]
    await done(bot, "sandbox", "rm", "Files")
    assert not bot.containers()
    assert await done(bot, "sandbox", "exec", "Files", "cat", "said") == "hello"


async def test_a_shell_in_a_room(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(), await person("alice")
    await bot.known_room_with(alice, name="Files")
    path = await done(bot, "sandbox", "exec", "Files", "sh", "-c", "echo $PATH")
    shell = [str(ROOMMATE), "sandbox", "shell", "Files"]
    around = shlex.join(
        ["sh", "-c", f"{shlex.join(shell)}; echo ended with $?; stty -a | grep -q ' echo ' && echo restored"]
    )

    async with Terminal("sh", "-c", around, environment=bot.settings, columns=90, rows=30) as terminal:
        await terminal.see("$")
        terminal.type("echo $TERM; stty size; pwd; id -u; echo PATH=$PATH; echo typed > by-hand\r")
        await terminal.see("xterm-256color\n30 90\n/workspace\n1000")
        await terminal.see(f"PATH={path.strip()}")
        terminal.type("trap 'stty size' WINCH; echo trap''ped\r")
        await terminal.see("trapped")
        terminal.resize(40, 120)
        await terminal.see("40 120")
        terminal.type("yes\r")
        await terminal.see("y\ny\ny")
        terminal.type("\x03")
        await terminal.see("^C")
        terminal.type("echo inter''rupted $?; cat\r")
        await terminal.see("interrupted 130")
        terminal.type("x" * 3000 + "\x04\x04")
        terminal.type("exit 5\r")
        await terminal.see("ended with 5")
        await terminal.see("restored")
        assert await terminal.ended() == 0
    assert await done(bot, "sandbox", "exec", "Files", "cat", "by-hand") == "typed\n"

    async def alone() -> bool:
        return "bash" not in await done(bot, "sandbox", "exec", "Files", "sh", "-c", "cat /proc/[0-9]*/comm")

    async with Terminal("sh", "-c", around, environment=bot.settings) as terminal:
        await terminal.see("$")
        terminal.type("sleep 1000 & sleep 1000\r")
        terminal.type("~.")
        await terminal.see("ended with 0")
    await until(alone, "the end of a shell that was left")
    async with Terminal(*shell, environment=bot.settings) as terminal:
        await terminal.see("$")
        terminal.type("trap '' HUP; sleep 1000\r")
        await terminal.see("sleep 1000")
        terminal.hang_up()
        assert await terminal.ended() == 129
    await until(alone, "the end of a shell whose window was closed")
    async with Terminal("sh", "-c", around, environment=bot.settings) as terminal:
        await terminal.see("$")
        await done(bot, "sandbox", "stop", "Files")
        await terminal.see("roommate: ")
        await terminal.see("ended with 1")
        await terminal.see("restored")
    deeds = [json.loads(line)["what"] for line in (await done(bot, "audit", "--json")).splitlines()]
    assert deeds.count("sandbox.shell") == 4


async def test_speaking_through_the_daemon(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.known_room_with(alice, bob, name="Workshop")
    assert await done(bot, "send", "Workshop", "SAY hello", "--wait") == "hello\n"
    [said] = [m for m in bot.said(bob, room) if "💬" in m.body]
    assert said.body == f"💬 **{alice.user_id}**:\n\nSAY hello"
    [answer] = [m for m in bot.said(bob, room) if m.body.startswith("hello")]
    assert answer.reply_to == said.event_id
    assert answer.content["m.mentions"] == {"user_ids": [alice.user_id]}
    event = (await done(bot, "send", room, "SAY without waiting")).strip()
    assert (await bob.answer_to(event)).body.startswith("without waiting")
    answer_found = json.loads(await done(bot, "send", room, "!who", "--wait", "--json"))
    assert "you are an operator" in answer_found["body"]

    lines = "!reset workspace\n/no\nSAY and on\n"
    out = await done(bot, "chat", "Workshop", stdin=lines.encode())
    assert "every file" in out
    assert "❌ refused by alice" in out
    assert out.endswith("and on\n")
    decided = [json.loads(line) for line in (await done(bot, "audit", "--json")).splitlines()]
    assert [one["who"] for one in decided if one["what"] == "card.reset-workspace"] == [alice.user_id]
    assert {one["subject"] for one in decided if one["what"] == "say"} == {alice.user_id}

    async with Terminal(str(ROOMMATE), "chat", "Workshop", environment=bot.settings) as terminal:
        await terminal.see("and on")
        terminal.type("SAY typed\r")
        await terminal.see("● " + bot.user_id[1:].partition(":")[0])
        await bob.wait(lambda: any(m.body.startswith("typed") for m in bot.said(bob, room)), what="the answer")
        await terminal.see("  typed")
        await bob.say(room, "I am here, too")
        await terminal.see("I am here, too")
        await done(bot, "send", room, "SAY from another window")
        await terminal.see("› SAY from another window")
        await bot.term()
        await terminal.see("trying again")
        await bot.start()
        await bob.say(room, "back again")
        await terminal.see("back again")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0
