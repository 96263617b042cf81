"""Paused: what comes is kept, people are told once, and all of it is answered in order when it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.test_audit import log_of
from tests.harness import Daemon, notice
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel

WRITES = 1000


def switches(bot: Daemon) -> int:
    """How often its threads have waited for something so far."""
    lines = [
        line
        for status in Path(f"/proc/{bot.pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    ]
    return sum(int(line.split()[1]) for line in lines)


def notices(bot: Daemon, person: Person, room: str) -> list[Shown]:
    return [one for one in bot.said(person, room) if "Paused by" in one.body and "wait" in one.body]


async def test_a_pause_file_holds_rooms_also_over_a_crash(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room, other = await bot.room_with(alice), await bot.room_with(alice)
    flag = bot.state / f"PAUSE_{room}"
    flag.touch()
    await asyncio.sleep(1)
    first = await alice.say(room, "SAY one")
    [waits] = await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert waits.body.startswith(f"⏸ Paused by the file {flag.name}: 1 message waits")
    await alice.say(room, "SAY two")
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, first), what="the mark")
    assert (await alice.ask(other, "SAY here we go")).body == "here we go"
    await alice.say(room, "!status")
    await alice.wait(lambda: any("paused by the file" in m.body for m in bot.said(alice, room)), what="the status")

    await bot.kill9()
    (bot.state / "PAUSE").touch()
    flag.unlink()
    await bot.start()
    asked = await alice.say(other, "SAY three")
    await alice.wait(lambda: notices(bot, alice, other), what="the other room is paused as well")
    assert notices(bot, alice, other)[0].body.startswith("⏸ Paused by the file PAUSE: 1 message waits")
    assert [m.body for m in alice.finals(room)] == []
    (bot.state / "PAUSE").unlink()
    assert (await alice.answer_to(asked)).body == "three"
    await alice.wait(lambda: len(alice.finals(room)) == 2, what="both answers")
    assert [m.body for m in alice.finals(room)] == ["one", "two"]
    assert not alice.reactions(room, first)
    assert len(notices(bot, alice, room)) <= 2, "once in each pause"


async def test_a_turn_that_a_restart_left_waits_as_well(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, f"SAY begun\nGATE {room}\nSAY and done")
    await alice.wait(lambda: any("begun" in m.body for m in bot.said(alice, room)), what="the turn")
    await bot.kill9()
    model.open(room)
    (bot.state / "PAUSE").touch()
    await bot.start()
    later = await alice.say(room, "SAY later")
    await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert not alice.finals(room)
    (bot.state / "PAUSE").unlink()
    assert "and done" in (await alice.answer_to(asked)).body
    assert (await alice.answer_to(later)).body
    assert [("and done" in m.body, "later" in m.body) for m in alice.finals(room)] == [(True, False), (False, True)]

    asked = await alice.say(room, "SAY again\nDELAY 60\nSAY never")
    await alice.wait(lambda: any("again" in m.body for m in bot.said(alice, room)), what="another turn")
    await bot.kill9()
    (bot.state / "PAUSE").touch()
    await bot.start()
    await alice.say(room, "!stop")
    assert "Stopped by" in (await alice.answer_to(asked)).body, "what is held can be stopped"


async def test_a_pause_in_chat_outlives_a_crash_and_one_from_the_host_is_the_same(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice, bob)
    await bob.say(room, "!pause")
    await notice(bot, alice, room, "Only an operator can use `!pause`")
    await alice.say(room, "!pause all")
    await notice(bot, alice, room, "All rooms are paused")
    asked = await alice.say(room, f"{bot.user_id} SAY one")
    [told] = await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert f"Paused by {alice.user_id[1:].partition(':')[0]}: 1 message waits" in told.body
    await bot.kill9()
    await bot.start()
    assert not [m for m in alice.finals(room) if "one" in m.body]
    assert await roommate(bot.folder, "rooms", "resume", "--json", **bot.settings) == (
        0, '{\n "room_id": null,\n "ended": true,\n "still": ""\n}\n', "")  # fmt: skip
    assert (await alice.answer_to(asked)).body.startswith("one")

    # Whoever pauses from the host has done the same, as the audit log has it.
    code, out, err = await roommate(bot.folder, "rooms", "pause", **bot.settings)
    assert (code, err) == (0, "")
    assert out.startswith("All rooms are paused: ")
    for line, wrong in (
        (("rooms", "pause", "Nowhere"), (1, "the bot is in no room 'Nowhere'")),
        (("rooms", "pause", "--loud"), (2, "no such option: --loud (usage: roommate rooms pause [ROOM] [--json])")),
    ):
        code, out, err = await roommate(bot.folder, *line, **bot.settings)
        assert (code, out, err.count("\n"), wrong[1] in err) == (wrong[0], "", 1, True), err
    done = [(one["what"], one["subject"], one["outcome"], one["via"] == "socket") for one in await log_of(bot)
            if one["what"] in ("pause", "resume")]  # fmt: skip
    assert done == [
        *[("pause", "", "refused", False), ("pause", "all", "done", False), ("resume", "all", "done", True)],
        *[("pause", "all", "done", True), ("pause", "", "failed", True)],
    ]


@pytest.mark.slow
async def test_without_a_daemon_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    code, out, err = await roommate(tmp_path, "rooms", "pause", STATE_DIR=str(tmp_path))
    assert (code, out, "no daemon is running here" in err) == (3, "", True)
    assert (await roommate(tmp_path, "rooms", "pause", "--loud"))[0] == 2
    completing = {"_ROOMMATE_COMPLETE": "complete_bash", "COMP_WORDS": "roommate rooms pa", "COMP_CWORD": "2"}
    assert await roommate(tmp_path, **completing) == (0, "pause\n", "")
    code, out, _ = await roommate(tmp_path, "rooms", "pause", "--help", COLUMNS="200")
    assert (code, "Holds back what is said in a room" in out, "A room; without one: all of them." in out) == (0, 1, 1)


async def test_what_is_written_in_the_state_folder_wakes_nobody(daemon: MakeDaemon) -> None:
    """As the databases there are written to, at every message."""
    bot = await daemon()
    await asyncio.sleep(1)
    with (bot.state / "some.db-wal").open("wb", buffering=0) as file:
        before = switches(bot)
        for _ in range(WRITES):
            file.write(b"page")
            await asyncio.sleep(0.001)
        woken = switches(bot) - before
    assert woken < WRITES / 4
