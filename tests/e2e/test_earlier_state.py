"""A daemon begins on the state of an earlier release, which two turns, cards, a pause and grants were in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon, MakePerson
from tests.earlier_state import loaded
from tests.harness import Daemon, notice
from tests.person import Person
from tests.scripted_model import ScriptedModel


async def asked_of(bot: Daemon, *command: str) -> str:
    code, out, err = await roommate(bot.folder, *command, **bot.settings)
    assert code == 0, err
    return out


async def test_all_that_was_open_goes_on(
    homeserver: Synapse, daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, learned: Path
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, start=False, OPERATORS=alice.user_id)
    async with await Person.at(homeserver.url, bot.user_id, PASSWORD) as account:
        rooms = {}
        for name in ("Work", "Paused", "Flying", "Ops"):
            rooms[name] = await alice.create_room([bot.user_id], name=name)
            await account.join(rooms[name])
        work, paused, flying, ops = rooms.values()
        shown = {room: await account.say(room, "⚙️ working") for room in (flying, ops)}
        for room in shown:
            await alice.wait(lambda room=room: alice.messages(room, bot.user_id), what="it")  # type: ignore[misc]
        await account.wait(lambda: set(shown.values()) <= {seen.event_id for seen in account.seen}, what="what it said")
        names = {
            **{f"!{name.lower()}:example.org": room for name, room in rooms.items()},
            "$event-67:example.org": shown[flying],  # the live messages of turns that run
            "$event-71:example.org": shown[ops],
            "https://matrix.example.org": homeserver.url,
            "@bot:example.org": bot.user_id,
            "@ann:example.org": alice.user_id,
            "'s84_1_8_1_1_1_1_6_0_1_1_1_1_1'": f"'{account.since}'",
            "a-token": account.token,
            "A-DEVICE": account.device_id,
        }
        loaded(bot.state, names=names)
        shutil.copy(learned, bot.state / "host.json")
        model.asked.clear()
        await bot.start()

        # Turns go on once, with what is known of their calls; what waited has its turn, and what is held has not.
        await alice.wait(lambda: {"flown-model", "waited-behind"} <= words(alice, flying), what="the turn in the model")
        await alice.wait(lambda: "flown-tool" in words(alice, ops), what="the turn in a tool")
        [again] = [one for one in model.asked if "flown-tool" in one.prompt]
        assert [result.split(":")[0] for result in again.results] == ["unknown"]
        assert "held-answer" not in words(alice, paused)

        # Its cards wait for people; one that nobody here knows is closed.
        cards = json.loads(await asked_of(bot, "approvals", "ls", "--json"))
        assert sorted(card["what"] for card in cards) == [
            "egress", "hook", "of-a-later-release", "redeploy", "reset-workspace"
        ]  # fmt: skip
        for card in cards:
            await asked_of(bot, "approvals", "deny", str(card["id"]))
        await notice(bot, alice, work, "nothing was deleted")
        await notice(bot, alice, work, "of the kind `of-a-later-release` means I do not know, so nothing was done")
        assert json.loads(await asked_of(bot, "approvals", "ls", "--json")) == []

        # What was granted, said and set counts.
        await alice.say(work, "!egress")
        await notice(bot, alice, work, "- `three.invalid:8443`")
        await alice.ask(work, "SAY after")
        asked = json.dumps(next(one for one in model.asked if one.prompt == "SAY after").messages)
        assert "thread-root" in asked
        assert "Be brief." in asked
        assert "in-the-thread" not in asked, "that is another conversation"
        await alice.say(paused, "!resume")
        await alice.wait(lambda: "held-answer" in words(alice, paused), what="what was held")
        assert [one.prompt for one in model.asked].count("SAY held-answer") == 1


def words(person: Person, room: str) -> set[str]:
    """The first lines of what others said for good."""
    return {message.body.partition("\n")[0] for message in person.finals(room)}
