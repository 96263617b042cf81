"""After KEEP_DAYS what turns did is forgotten, and people notice nothing: through a real homeserver, over restarts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable

from roommate.store import reading
from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon
from tests.harness import Daemon, notice
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]

AGE = 40 * 86_400


def change(bot: Daemon, *statements: str) -> None:
    """In the database of a daemon that does not run."""
    c = sqlite3.connect(bot.state / "roommate.db", isolation_level=None)
    for statement in statements:
        c.execute(statement)
    c.close()


async def test_what_is_forgotten_is_not_answered_again_and_still_understood(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room, crowd = await bot.room_with(alice), await bot.room_with(alice, bob)
    with reading(bot.state) as c:
        [since] = c.execute("SELECT since FROM sync").fetchone()
    first = await alice.say(room, 'TOOL run_command {"command": "echo of-long-ago"}\n---\nSAY one')
    assert (await alice.answer_to(first)).body.startswith("one")
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    old = await alice.ask(crowd, f"{bot.user_id} SAY asked")
    await alice.ask(room, "SAY two")
    await alice.say(room, "!reset")
    await notice(bot, alice, room, "Forgotten")
    await bot.term()
    said = [m.body for m in bot.said(alice, room)]

    change(
        bot,
        f"UPDATE turns SET started = started - {AGE}, ended = ended - {AGE}",
        f"INSERT INTO marks SELECT unixepoch() - {AGE}, (SELECT max(seq) FROM inbox), (SELECT max(id) FROM outbox), 0",
        f"UPDATE sync SET since = '{since}'",  # so that the homeserver sends all of it once more
    )
    await bot.start()
    await bot.wait_for_log("were forgotten")
    with reading(bot.state) as c:
        assert c.execute(
            "SELECT count(*) FROM steps JOIN turns ON turn_id = turns.id WHERE room_id=?", (room,)
        ).fetchone() == (0,)
        assert c.execute("SELECT count(*) FROM inbox WHERE event_id=?", (first,)).fetchone() == (0,)
        [turn] = c.execute("SELECT id FROM turns WHERE event_id=?", (first,)).fetchone()
    code, out, _ = await roommate(bot.folder, "turns", "show", str(turn), **bot.settings)
    assert (code, "older than KEEP_DAYS" in out, "of-long-ago" in out) == (0, True, False), out
    code, out, _ = await roommate(bot.folder, "usage", "--json", **bot.settings)
    assert sum(one["turns"] for one in json.loads(out)) == 3, "what was spent is not forgotten"

    await bot.term()
    change(bot, f"UPDATE sync SET since = '{since}'")
    await bot.start()
    await alice.edit(room, first, "SAY edited")
    await alice.redact(room, first)
    assert (await alice.ask(room, "SAY three")).body == "three"
    assert [m.body for m in bot.said(alice, room)] == [*said, "three"]
    reply = await alice.say(crowd, "SAY understood", reply_to=old.event_id)
    assert (await alice.answer_to(reply)).body == "understood", "in a crowd it is meant for the bot, as a reply to it"
