"""Who did what, as an operator finds it in chat and on the command line."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon
from tests.harness import Daemon, notice
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def log_of(bot: Daemon) -> list[dict[str, Any]]:
    code, out, err = await roommate(bot.folder, "audit", "--since", "1h", "--json", **bot.settings)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_who_did_what_is_known(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    alice, bob, mallory = await person("alice"), await person("bob"), await person("mallory")
    allowed = f"{alice.user_id},{bob.user_id}"
    bot = await daemon(model=model, OPERATORS=alice.user_id, ALLOWED_USERS=allowed)
    room = await bot.room_with(alice, bob, mallory)
    asked = await alice.say(room, "SAY a-secret-answer", mentions=[bot.user_id])
    await alice.answer_to(asked)
    turned_away = await mallory.say(room, "please", mentions=[bot.user_id])
    await notice(bot, mallory, room, "not on my list")
    refused = await bob.say(room, "!egress add evil.example")
    await notice(bot, bob, room, "Only an operator")
    changed = await alice.say(room, "!egress add good.example")
    await notice(bot, alice, room, "`good.example` now")
    await alice.say(room, "!reset workspace")
    card = await notice(bot, alice, room, "every file")
    not_his = await mallory.react(room, card.event_id, "✅")
    decided = await alice.react(room, card.event_id, "❌")
    await notice(bot, alice, room, "nothing was deleted")

    log = await log_of(bot)
    told = {line["via"]: (line["who"], line["what"], line["subject"], line["outcome"], line["detail"]) for line in log}
    assert told[asked] == (alice.user_id, "turn", "1", "done", "")
    assert told[turned_away] == (mallory.user_id, "message", "", "refused", "not on the list")
    assert told[refused] == (bob.user_id, "egress.add", "evil.example", "refused", "")
    assert told[changed] == (alice.user_id, "egress.add", "good.example", "done", "")
    assert told[decided] == (alice.user_id, "card.reset-workspace", "", "done", "❌")
    assert told[not_his] == (mallory.user_id, "card.reset-workspace", "", "refused", "✅")
    assert log[0]["what"] == "invite"
    assert all(line["room_id"] == room for line in log)
    assert "secret" not in json.dumps(log)

    await bob.say(room, "!audit")
    await notice(bot, bob, room, "Only an operator can use `!audit`")
    await alice.say(room, "!audit 50")
    shown = await notice(bot, alice, room, "egress.add good.example")
    assert "evil.example REFUSED" in shown.body
    await bob.say(room, "!doctor")
    await notice(bot, bob, room, "Only an operator can use `!doctor`")
    await alice.say(room, "!doctor")
    looked = await notice(bot, alice, room, "things that I looked at")
    assert "**backup**: there is none" in looked.body
    code, out, _ = await roommate(bot.folder, "audit", "--verify", **bot.settings)
    assert (code, out[:17]) == (0, "whole: lines 1 to")


async def test_the_audit_command_without_a_daemon_and_after_somebody_was_at_it(daemon: MakeDaemon) -> None:
    bot = await daemon(start=False)
    code, _, err = await roommate(bot.folder, "audit", **bot.settings)
    assert (code, "cannot be read" in err) == (75, True)
    await bot.start()
    await bot.term()
    assert await roommate(bot.folder, "audit", **bot.settings) == (0, "", "")
    assert (await roommate(bot.folder, "audit", "--since", "yesterday", **bot.settings))[0] == 78
    c = sqlite3.connect(bot.state / "roommate.db")
    c.execute("INSERT INTO audit VALUES (1, 1, '@x:y', '', 'nothing', 'done', NULL, '', '', x'00')")
    c.commit()
    c.close()
    code, out, _ = await roommate(bot.folder, "audit", "--verify", **bot.settings)
    assert (code, out.startswith("BROKEN: line 1 ")) == (1, True)
