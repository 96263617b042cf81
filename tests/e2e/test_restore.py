"""The restore drill: a state that is lost comes back from a backup, and people hear everything once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from roommate.store import audit, reading
from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon
from tests.harness import Daemon, notice, tool
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]

WRITE = tool("write_file", path="kept.txt", content="still here") + "\n---\nSAY written"
SLOW = "\n---\nSAY slow-answer"
READ = tool("read_file", path="kept.txt") + "\n---\nECHO"


async def done(bot: Daemon, *command: str) -> str:
    code, out, err = await roommate(bot.folder, *command, **bot.settings)
    assert code == 0, err
    return out.strip()


async def test_restore_drill(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room, quiet, busy = [await bot.room_with(alice) for _ in range(3)]
    await alice.ask(room, WRITE)
    await alice.ask(quiet, "SAY before")
    slow = await alice.say(busy, tool("run_command", command="until [ -e go-on ]; do sleep 0.1; done") + SLOW)
    await alice.wait(lambda: any("go-on" in m.body for m in bot.said(alice, busy)), what="a turn that runs")
    waits = await alice.say(busy, "SAY waited-answer")

    # ── The daemon runs, and one turn of it, too.
    file = await done(bot, "backup")
    await done(bot, "backup", "verify", file)
    await done(bot, "sandbox", "exec", busy, "touch", "go-on")

    # ── What happens after the backup: answers, commands, a card, a new room, and what nobody answers any more.
    assert (await alice.answer_to(slow)).body.startswith("slow-answer")
    assert (await alice.answer_to(waits)).body == "waited-answer"
    assert (await alice.ask(room, "SAY after-backup")).body == "after-backup"
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    await alice.say(room, "!reset workspace")
    card = await notice(bot, alice, room, "Delete **every file**")
    await alice.react(room, card.event_id, "✅")
    await notice(bot, alice, room, "the workspace is empty now")
    new = await bot.room_with(alice)
    assert (await alice.ask(new, "SAY in-new-room")).body == "in-new-room"
    dying = await alice.say(new, tool("run_command", command="sleep 60") + "\n---\nSAY dying-answer")
    await alice.wait(lambda: any("sleep 60" in m.body for m in bot.said(alice, new)), what="the dying turn")
    [live] = [m for m in bot.said(alice, new) if "sleep 60" in m.body]
    await bot.kill9()
    unanswered = await alice.say(room, "SAY never-answered-before")
    heard_before = {one: len(bot.said(alice, one)) for one in (room, quiet, busy, new)}

    # ── Another host: nothing there but the file.
    other = Daemon(bot.settings["MATRIX_HOMESERVER"], bot.user_id, "", {**bot.settings, "MATRIX_PASSWORD": ""})
    try:
        other.settings["STATE_DIR"] = str(other.state)
        moved = str(shutil.copy(file, other.folder))
        await done(other, "restore", moved)
        assert len(list(other.state.glob("rooms/*/disk.img"))) == 2, "rooms that had a disk have one again"
        code, _, err = await roommate(other.folder, "restore", moved, **other.settings)
        assert (code, "is not empty" in err) == (75, True)
        model.asked.clear()
        await other.start()
        assert (await alice.answer_to(unanswered)).body == "never-answered-before"
        await notice(other, alice, room, "restored from a backup")
        for one in (busy, new):
            await notice(other, alice, one, "restored from a backup")
        await alice.say(new, "!stop")
        again = await alice.answer_to(dying)
        assert again.event_id == live.event_id, "the turn that died goes on in its message"
        assert "still here" in (await alice.ask(room, READ)).body, "the files are those of the backup"
        assert (await alice.ask(quiet, "SAY and on")).body == "and on"

        for prompt in ("slow-answer", "waited-answer", "after-backup", "in-new-room", "never-answered-before"):
            answers = [m for one in (room, busy, new) for m in alice.finals(one) if m.body.startswith(prompt)]
            assert len(answers) == 1, (prompt, answers)
        asked = [request.prompt for request in model.asked]
        assert not [prompt for prompt in asked if "slow-answer" in prompt or "after-backup" in prompt]
        for text in ("Pong", "Delete **every file**", "the workspace is empty now"):
            assert len([m for m in other.said(alice, room) if text in m.body]) == 1, text
        assert len([m for m in other.said(alice, new) if "Hello, I am" in m.body]) == 1
        assert not [m for m in other.said(alice, quiet) if "restored" in m.body], "nothing had happened there"
        assert len(other.said(alice, busy)) == heard_before[busy] + 1, "it is told there, and that is all"
        with reading(other.state) as c:
            chain = audit.verify(c)
            assert chain.broken is None
            assert "restore" in [record.deed.what for record in audit.read(c)]
    finally:
        await other.discard()


async def test_a_backup_goes_where_its_settings_say(daemon: MakeDaemon, tmp_path: Path) -> None:
    """On a host that has no settings; those of the backup are its settings then."""
    bot = await daemon()
    (bot.folder / ".env").write_text(f"STATE_DIR={tmp_path}/named\nMATRIX_USER={bot.user_id}\n")
    file = await done(bot, "backup")
    await bot.term()
    for number, (flags, folder) in enumerate((((), "named"), (("--to", "elsewhere"), "new-1/elsewhere"))):
        new = tmp_path / f"new-{number}"
        new.mkdir()
        code, _, err = await roommate(new, "restore", file, *flags)
        assert code == 0, err
        assert (tmp_path / folder / "roommate.db").exists()
        assert f"STATE_DIR={tmp_path / folder}\n" in (new / ".env").read_text()
        assert not (new / ".local").exists()
    # Settings that are there already stay, and it is said where they lead.
    new = tmp_path / "new-2"
    new.mkdir()
    (new / ".env").write_text(f"STATE_DIR={tmp_path}/mine\n")
    code, _, err = await roommate(new, "restore", file, "--to", "here")
    assert (code, f"set STATE_DIR={new}/here" in err) == (0, True)
    code, _, err = await roommate(new, "restore", file)
    assert (code, (tmp_path / "mine" / "roommate.db").exists()) == (0, True), err


async def test_backups_on_the_command_line(daemon: MakeDaemon) -> None:
    bot = await daemon(start=False)
    code, _, err = await roommate(bot.folder, "backup", **bot.settings)
    assert (code, "cannot be read" in err) == (75, True)
    await bot.start()
    (bot.folder / ".env").write_text("LLM_API_KEY=a-secret-key\n")
    shown = json.loads(await done(bot, "backup", "--json"))
    assert shown["database"]["audit"]["broken"] is None
    with open(shown["file"], "r+b") as damaged:
        damaged.seek(shown["bytes"] // 2)
        damaged.write(b"damage")
    code, _, err = await roommate(bot.folder, "backup", "verify", str(bot.state / "backups"), **bot.settings)
    assert (code, "damaged" in err) == (75, True)
    code, _, err = await roommate(bot.folder, "restore", shown["file"], **bot.settings)
    assert (code, "another Roommate runs" in err) == (75, True)
    await bot.term()
    later = json.loads(await done(bot, "backup", "--json"))
    made = [
        line for line in map(json.loads, (await done(bot, "audit", "--json")).splitlines()) if line["what"] == "backup"
    ]
    assert {(line["via"], line["subject"]) for line in made} == {
        ("socket", shown["file"]),
        ("command line", later["file"]),
    }
