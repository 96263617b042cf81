"""What people answer to a card: by a tap, in words, as a reply; from whom it counts; and what the card says then."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from roommate.domain import UserId
from roommate.user_client import Timeline
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import notice
from tests.person import Person, Shown

ASKS = "Delete **every file**"


async def card_of(bot: MemoryDaemon, person: Person, room: str, *, thread: str | None = None) -> Shown:
    """A new card, with its choices up."""
    before = {one.event_id for one in bot.said(person, room)}

    def new() -> Shown | None:
        fresh = [one for one in bot.said(person, room) if one.is_card and one.event_id not in before]
        return fresh[0] if fresh and len(person.reactions(room, fresh[0].event_id)) > 1 else None

    await person.say(room, "!reset workspace", thread=thread)
    found = await person.wait(new, what="a card with its choices")
    assert found is not None
    return found


async def over(bot: MemoryDaemon, person: Person, room: str, card: Shown) -> str:
    """What the card says when it is over."""

    def closed() -> Shown | None:
        now = next(one for one in bot.said(person, room) if one.event_id == card.event_id)
        return now if now.content["io.roommate.card"].get("over") else None

    found = await person.wait(closed, what="the end of the card")
    assert found is not None
    assert found.content["m.mentions"] == {}, "how it ended rings for nobody"
    await person.wait(lambda: all(who != bot.user_id for who, _ in person.reactions(room, card.event_id)))
    return found.body


async def test_a_card_calls_who_asked(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    card = await card_of(bot, alice, room)
    name = alice.user_id[1:].partition(":")[0]
    assert card.msgtype == "m.text"
    assert card.content["m.mentions"] == {"user_ids": [alice.user_id]}
    assert f'<a href="https://matrix.to/#/{alice.user_id}">{name}</a>: ❓ Delete' in card.html
    assert card.body.startswith(f"{name}: ❓ {ASKS}")
    await alice.say(room, "!reset workspace")
    again = await notice(bot, alice, room, "That is asked already")
    assert f"matrix.to/#/{room.replace(':', '%3A').replace('!', '%21')}/" in again.html
    await alice.react(room, card.event_id, "👎🏽")
    assert (await over(bot, alice, room, card)).startswith(f"❌ refused by {name}, nothing was deleted\n\n> ❓ {ASKS}")


@pytest.mark.parametrize(
    ("said", "reply", "ends"),
    [
        ("yes", False, "✅ allowed by"),
        ("No.", False, "❌ refused by"),
        ("👍🏿", False, "✅ allowed by"),
        ("Yes, please!", True, "✅ allowed by"),
        ("❌️", True, "❌ refused by"),
    ],
)
async def test_words_answer_the_one_card(
    bot: MemoryDaemon, person: MakePerson, said: str, reply: bool, ends: str
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    card = await card_of(bot, alice, room)
    before = len(bot.said(alice, room))
    await alice.say(room, said, reply_to=card.event_id if reply else None)
    assert (await over(bot, alice, room, card)).startswith(ends)
    assert len(bot.said(alice, room)) == before, "it is no prompt"
    assert (await alice.ask(room, said)).body, "without a card it is one"


def about_another(bot: MemoryDaemon) -> None:
    """The newest card is about something else now, so that a second one can be asked."""
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", isolation_level=None)) as c:
        c.execute("UPDATE cards SET subject = id WHERE id = (SELECT max(id) FROM cards)")


async def test_of_two_open_cards_one_is_to_be_named(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    root = await alice.say(room, "SAY a thread")
    await alice.answer_to(root)
    one = await card_of(bot, alice, room)
    about_another(bot)
    two = await card_of(bot, alice, room)
    about_another(bot)
    elsewhere = await card_of(bot, alice, room, thread=root)
    assert (await alice.ask(room, "SAY yes and no")).body == "yes and no", "anything else is a prompt"
    await alice.say(room, "no", thread=root)
    assert (await over(bot, alice, room, elsewhere)).startswith("❌"), "each conversation has its own"
    await alice.say(room, "no")
    await notice(bot, alice, room, "2 questions are open here: reply to the one that you mean")
    await alice.say(room, "no", reply_to=one.event_id)
    assert (await over(bot, alice, room, one)).startswith("❌")
    await alice.say(room, "no")
    assert (await over(bot, alice, room, two)).startswith("❌"), "it is the only one now"


async def test_in_a_group_yes_counts_of_who_was_asked(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, bob, mallory = await person("alice"), await person("bob"), await person("mallory")
    bot = await daemon(model=model, ALLOWED_USERS=f"{alice.user_id},{bob.user_id}")
    room = await bot.room_with(alice, bob, mallory)
    card = await card_of(bot, alice, room)
    await bob.say(room, "yes")
    await mallory.say(room, "yes")
    await mallory.say(room, "yes", reply_to=card.event_id)
    await notice(bot, alice, room, "not on my list")
    await bob.say(room, "no", reply_to=card.event_id)
    assert (await over(bot, alice, room, card)).startswith("❌ refused by bob")
    card = await card_of(bot, alice, room)
    await alice.say(room, "no")
    assert (await over(bot, alice, room, card)).startswith("❌ refused by alice")


def test_a_card_that_is_over_is_no_question_for_the_terminal() -> None:
    def said(event: str, card: dict[str, object], **more: object) -> dict[str, object]:
        content = {"msgtype": "m.text", "body": "?", "io.roommate.card": card, **more}
        return {"type": "m.room.message", "event_id": event, "sender": "@bot:x", "content": content}

    timeline = Timeline()
    for event in ("$1", "$2"):
        timeline.take(said(event, {"what": "egress"}))
    ended = {"msgtype": "m.text", "body": "✅", "io.roommate.card": {"what": "egress", "over": True}}
    relation = {"rel_type": "m.replace", "event_id": "$2"}
    timeline.take(said("$3", {}, **{"m.new_content": ended, "m.relates_to": relation}))
    newest = timeline.newest_card(not_of=UserId("@alice:x"))
    assert newest is not None
    assert newest.event_id == "$1"
