"""Questions to people, at a real homeserver and about what a real container wants: whom they ring for, what waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from urllib.parse import quote

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.test_hooks import hook
from tests.harness import Daemon, notice, run, tool
from tests.patience import PATIENCE
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel

CURL = "curl -sS http://{}.invalid/"


@pytest.fixture
def homeserver(ringing: Synapse) -> Synapse:
    return ringing


@pytest.fixture
async def bot(daemon: MakeDaemon, model: ScriptedModel) -> Daemon:
    return await daemon(model=model)


async def rung(person: Person, room: str) -> list[str]:
    """The events of a room that their account was notified of with a sound, at the push rules that everybody has. In a
    group whatever is said counts as new, too, without one."""
    answer = await person.call("GET", "notifications?limit=100")
    here = [one for one in reversed(answer["notifications"]) if one["room_id"] == room]
    return [one["event"]["event_id"] for one in here if "sound" in map(tweak, one["actions"])]


def tweak(action: object) -> object:
    return action.get("set_tweak") if isinstance(action, dict) else None


async def asked(bot: Daemon, person: Person, room: str, words: str) -> Shown:
    """The open card with these words, with its choices."""
    card = await notice(bot, person, room, words)
    await person.wait(lambda: len(person.reactions(room, card.event_id)) > 1, what="the choices")
    return card


async def now(bot: Daemon, person: Person, room: str, card: Shown, words: str) -> Shown:
    """The card, when it says so."""

    def look() -> Shown | None:
        found = next(one for one in bot.said(person, room) if one.event_id == card.event_id)
        return found if words in found.body else None

    found = await person.wait(look, what=f"a card that says {words!r}")
    assert found is not None
    return found


async def live(bot: Daemon, person: Person, room: str, words: str) -> Shown:
    """A live message that says so."""

    def look() -> Shown | None:
        return next((one for one in bot.said(person, room) if words in one.body and "working" not in one.body), None)

    found = await person.wait(look, what=f"a live message that says {words!r}")
    assert found is not None
    return found


async def in_rooms(bot: Daemon, person: MakePerson) -> list[tuple[Person, Person | None, str, str]]:
    """Of a person and the bot alone, and of two people: who is there, the room, and how the bot is called there."""
    alice, bob = await person("alice"), await person("bob")
    return [
        (alice, None, await bot.room_with(alice), ""),
        (alice, bob, await bot.room_with(alice, bob), f"{bot.user_id}: "),
    ]


async def test_a_card_rings_for_who_asked_and_nothing_else_of_it(bot: Daemon, person: MakePerson) -> None:
    for alice, bob, room, call in await in_rooms(bot, person):
        await alice.call("POST", f"rooms/{quote(room)}/receipt/m.read/{quote(alice.seen[-1].event_id)}", {})
        prompt = await alice.say(room, call + run(CURL.format("one") + "; sleep 0.2; echo over"))
        card = await asked(bot, alice, room, "wants to connect to `one.invalid`")
        shown = await live(bot, alice, room, "⏸ **waits for your answer:** [one.invalid](")
        assert f"/{quote(card.event_id)})" in shown.body
        assert (await rung(alice, room))[-1] == card.event_id
        await alice.say(room, "yes")
        await now(bot, alice, room, card, "✅ allowed by alice")
        answer = await alice.answer_to(prompt)
        assert "one.invalid:80 cannot be reached" in answer.body
        assert "[people were asked about one.invalid while this ran: alice" in answer.body
        *_, final = edits_of(alice, answer.event_id)
        assert await rung(alice, room) == [card.event_id, final], "no progress, nothing of the card but itself"
        if bob is not None:
            assert not set(await rung(bob, room)) & {card.event_id, final}, "it is not theirs"


def edits_of(person: Person, event: str) -> list[str]:
    found = (seen for seen in person.seen if seen.relation.get("rel_type") == "m.replace")
    return [seen.event_id for seen in found if seen.relation.get("event_id") == event]


async def test_the_clock_stands_still_and_who_asks_again_is_at_the_same_card(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, COMMAND_TIMEOUT_SECONDS="3", OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    both = "\n".join(
        [tool("run_command", command=CURL.format("one")), tool("run_command", command=CURL.format("one") + " && x")]
    )
    prompt = await alice.say(room, f"{both}\n---\nECHO")
    card = await asked(bot, alice, room, "`one.invalid`")
    await asyncio.sleep(4)  # longer than a command may take
    await alice.react(room, card.event_id, "👍🏽")
    answer = (await alice.answer_to(prompt)).body
    assert "timed out" not in answer
    assert answer.count("one.invalid:80 cannot be reached") == 2
    assert len([one for one in bot.said(alice, room) if one.is_card]) == 1
    prompt = await alice.say(room, run("sleep 60"))
    assert "timed out" in (await alice.answer_to(prompt)).body, "and goes on else"


async def test_what_is_not_needed_any_more_says_so(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    prompt = await alice.say(room, run(CURL.format("one")))
    card = await asked(bot, alice, room, "`one.invalid`")
    await alice.say(room, "!egress add one.invalid:80")
    assert "one.invalid:80 cannot be reached" in (await alice.answer_to(prompt)).body, "it goes on"
    await now(bot, alice, room, card, "➖ no longer needed")
    await alice.say(room, run(CURL.format("two")))
    card = await asked(bot, alice, room, "`two.invalid`")
    await alice.say(room, "!stop")
    ended = await now(bot, alice, room, card, "➖ no longer needed")
    await alice.wait(lambda: not alice.reactions(room, card.event_id), what="its choices taken off")
    assert ended.msgtype == "m.text"
    assert edits_of(alice, card.event_id)
    assert not set(await rung(alice, room)) & set(edits_of(alice, card.event_id))


async def test_what_expires_says_so_and_is_answered_no_more(bot: Daemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room, call = await bot.room_with(alice, bob), f"{bot.user_id}: "
    push = hook("gemini", "before-tool", {"tool_name": "run_shell_command", "tool_input": {"command": "git push"}})
    wants = f"{push} >verdict & {CURL.format('one')}; until [ -e go ]; do sleep 0.05; done; kill $!; cat verdict"
    prompt = await alice.say(room, call + run(wants))
    cards = [await asked(bot, alice, room, words) for words in ("`one.invalid`", "May `gemini` do this?")]
    both = {card.event_id for card in cards}
    assert both <= set(await rung(alice, room)), "a hook's rings, too"
    assert not both & set(await rung(bob, room))
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", timeout=PATIENCE)) as c, c:
        c.execute("UPDATE cards SET expires=? WHERE room_id=?", (time.time() - 1, room))
    await alice.say(room, "!reset workspace")  # its card is one more whose time is looked at
    for card in cards:
        await now(bot, alice, room, card, "⌛ expired: nobody answered")
        await alice.wait(lambda c=card: not alice.reactions(room, c.event_id), what="its choices taken off")  # type: ignore[misc]
        await alice.react(room, card.event_id, "✅")
        assert not set(await rung(alice, room)) & set(edits_of(alice, card.event_id))
    await alice.wait(lambda: any("⚙️ *working" in m.body for m in bot.said(alice, room)), what="no question any more")
    thread = await alice.say(room, "about this", msgtype="m.notice")
    await alice.say(room, call + run("touch go"), thread=thread)
    answer = (await alice.answer_to(prompt)).body
    assert "[people were asked about one.invalid while this ran: nobody answered in time]" in answer
    assert '"allow"' not in answer, "whoever taps an expired card allows nothing"
    for card in cards:
        await now(bot, alice, room, card, "⌛ expired")


async def test_an_answer_that_comes_too_late_offers_to_go_on(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    await alice.ask(room, run(f"(timeout 2 {CURL.format('one')}; timeout 2 {CURL.format('two')}); true"))
    for host, reply in (("one", False), ("two", True)):
        card = await asked(bot, alice, room, f"`{host}.invalid`")
        await bot.kill9()
        await bot.start()
        await alice.say(room, "Yes!", reply_to=card.event_id)
        await now(bot, alice, room, card, "✅ allowed by alice")
        offer = await notice(bot, alice, room, f"has ended without `{host}.invalid:80`")
        assert offer.msgtype == "m.notice"
        assert offer.content["m.mentions"] == {}
        before = len(model.asked)
        if reply:
            await alice.say(room, "go on")
        else:
            await alice.wait(lambda o=offer: alice.reactions(room, o.event_id), what="🔁")  # type: ignore[misc]
            await alice.react(room, offer.event_id, "🔁")
        await now(bot, alice, room, offer, "🔁 taken up again by alice")
        await alice.wait(lambda n=before: len(model.asked) > n, what="the model")  # type: ignore[misc]
        assert f"people have allowed `{host}.invalid:80` meanwhile" in json.dumps(model.asked[-1].messages[-1])
