"""What coding agents ask with hooks waits five minutes by their own clock, whether or not a daemon runs."""

import contextlib
import json
import os
import sqlite3
import time
from pathlib import Path

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_ask_person import over
from tests.harness import run
from tests.patience import until
from tests.person import Person, Shown


def ask(out: Path, number: int, *, seconds_ago: float = 0) -> None:
    """As a hook leaves its request; nobody looks at a dotted name."""
    about = {"agent": "gemini", "tool": "sh", "command": f"git push {number}", "text": "push", "asks": f"a{number}"}
    (new := out / ".new").write_text(json.dumps(about))
    os.utime(new, (time.time() - seconds_ago,) * 2)
    new.rename(out / f"{number:020d}-1-approval-request-x.json")


def cards(bot: MemoryDaemon, person: Person, room: str) -> list[Shown]:
    return [m for m in bot.said(person, room) if m.is_card]


async def test_a_question_whose_hook_gave_up_while_the_daemon_was_away_is_over(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("true"))
    [out], [into] = bot.state.glob("rooms/*/files/spool"), bot.state.glob("ipc/*/spool/in")
    ask(out, 1)
    await alice.wait(lambda: cards(bot, alice, room), what="a card")
    [asked] = cards(bot, alice, room)
    await bot.term()
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", isolation_level=None)) as c:
        assert c.execute("UPDATE cards SET expires = 1 WHERE verdict IS NULL").rowcount == 1
    ask(out, 2, seconds_ago=400)
    ask(out, 3, seconds_ago=200)
    await bot.start()
    assert (await over(bot, alice, room, asked)).startswith("⌛ expired")
    await alice.react(room, asked.event_id, "✅")
    await until((into / "a2.json").exists, "the refusal of what nobody waits for any more")
    assert json.loads((into / "a2.json").read_text())["allow"] is False
    await alice.wait(lambda: len(cards(bot, alice, room)) == 2, what="the card of what still waits")
    assert "git push 3" in cards(bot, alice, room)[1].body
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db")) as c:
        [[expires]] = c.execute("SELECT expires FROM cards WHERE verdict IS NULL").fetchall()
    assert expires < time.time() + 95, "no longer than its hook waits"
    await alice.react(room, cards(bot, alice, room)[1].event_id, "✅")
    await until((into / "a3.json").exists, "the yes")
    assert json.loads((into / "a3.json").read_text())["allow"] is True
    assert not (into / "a1.json").exists(), "whoever taps an expired card allows nothing"
