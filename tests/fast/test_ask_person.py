"""The model asks people: a card that is answered by a tap, a number or words, in the turn or when that is long over."""

import contextlib
import sqlite3

import pytest

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import Bot, tool
from tests.patience import until
from tests.person import Person, Shown

QUESTION = tool("ask_person", question="Which **database**?", choices=["Postgres", "SQL_ite*"])
ASKS = f"{QUESTION}\n---\nECHO"


async def card(bot: Bot, person: Person, room: str, choices: int = 2) -> Shown:
    def up() -> Shown | None:
        found = [m for m in bot.said(person, room) if m.is_card and not m.content["io.roommate.card"].get("over")]
        return found[-1] if found and len(person.reactions(room, found[-1].event_id)) >= choices else None

    found = await person.wait(up, what="a card with its choices")
    assert found is not None
    return found


async def over(bot: Bot, person: Person, room: str, card: Shown) -> str:
    def closed() -> str:
        now = next(m for m in bot.said(person, room) if m.event_id == card.event_id)
        return now.body if now.content["io.roommate.card"].get("over") else ""

    return await person.wait(closed, what="the end of the card")


@pytest.mark.parametrize(
    ("how", "meant"),
    [("tap", "SQL_ite*"), ("number", "SQL_ite*"), ("reply", "neither, use files"), ("text", "neither, use files")],
)
async def test_the_answer_is_the_result_of_the_call(
    bot: MemoryDaemon, person: MakePerson, how: str, meant: str
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, ASKS)
    question = await card(bot, alice, room)
    assert question.content["m.mentions"] == {"user_ids": [alice.user_id]}, "it rings"
    assert question.body.splitlines()[2:4] == ["1️⃣ Postgres", "2️⃣ SQL_ite\\*"]
    assert [key for _, key in alice.reactions(room, question.event_id)] == ["1️⃣", "2️⃣"]
    waits = "⏸ **waits for your answer:** [Which database?](https://matrix.to/"
    await alice.wait(lambda: any(waits in m.body for m in bot.said(alice, room)), what="what it waits for")
    match how:
        case "tap":
            await alice.react(room, question.event_id, "2️⃣")
        case "number":
            await alice.say(room, "2")
        case _:
            await alice.say(room, meant, reply_to=question.event_id if how == "reply" else None)
    answer = await alice.answer_to(asked)
    if answer.event_id == question.event_id:
        answer = next(m for m in bot.said(alice, room) if m.msgtype == "m.text" and not m.is_card)
    assert answer.body.startswith(f"{alice.user_id} answers: {meant}")
    assert not [look for look in answer.looks if "▶ **ask_person**" in look], "it says what it waits for once"
    assert "ask_person</strong> <code>Which **database**?</code> — alice-" in answer.html
    assert (await over(bot, alice, room, question)).startswith("💬 alice")
    assert (await alice.ask(room, "SAY still here")).body == "still here", "and nothing is left of it"


async def test_what_was_said_before_the_question_is_no_answer(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel, homeserver: MemoryHomeserver
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, f"GATE said-before\n{ASKS}")
    await alice.wait(lambda: model.asked and model.asked[-1].prompt.startswith("GATE said-before"), what="its turn")
    with homeserver.deaf(bot.user_id):
        early = await alice.say(room, "SAY said before")
        model.open("said-before")
        question = await card(bot, alice, room)
    await alice.wait(lambda: alice.reactions(room, early), what="⏳: it is a prompt")
    await alice.say(room, "2")
    await alice.wait(lambda: len(finals(bot, alice, room)) == 2, what="both answers")
    answered, prompt = finals(bot, alice, room)
    assert answered.body.startswith(f"{alice.user_id} answers: SQL_ite*"), "what was said below it is one"
    assert prompt.body == "said before"
    assert (await over(bot, alice, room, question)).startswith("💬 alice")


def seen(bot: MemoryDaemon, room: str) -> int:
    """How much of what people said there it has looked at."""
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db")) as c:
        query = "SELECT count(*) FROM inbox WHERE room_id=? AND kind IN ('Message', 'Reaction') AND state != 'new'"
        return int(c.execute(query, (room,)).fetchone()[0])


@pytest.mark.parametrize("how", ["reply", "tap"])
async def test_an_answer_is_one_before_the_daemon_has_heard_that_its_question_arrived(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel, homeserver: MemoryHomeserver, how: str
) -> None:
    """As when it is killed right after the question was sent, and people are quick."""
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, f"GATE about-to-ask\n{ASKS}")
    await alice.wait(lambda: model.asked and model.asked[-1].prompt.startswith("GATE about-to"), what="its turn")
    with homeserver.unanswered(bot.user_id):
        model.open("about-to-ask")
        question = await card(bot, alice, room, choices=0)
        if how == "tap":
            await alice.react(room, question.event_id, "1️⃣")
        else:
            await alice.say(room, "Postgres", reply_to=question.event_id)
        await until(lambda: seen(bot, room) == 2, "that the daemon has read it")
    [answer] = await alice.wait(lambda: finals(bot, alice, room), what="the answer")
    assert answer.body.startswith(f"{alice.user_id} answers: Postgres")
    assert (await over(bot, alice, room, question)).startswith("💬 alice")
    assert (await alice.ask(room, "SAY still here")).body == "still here", "and nothing is left of it"


async def test_an_answer_that_comes_when_the_turn_is_over_begins_one(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, ANSWER_WAIT_SECONDS="0.3")
    room = await bot.room_with(alice)
    await alice.say(room, ASKS)
    question = await card(bot, alice, room)
    ended = await alice.wait(lambda: finals(bot, alice, room))
    assert "nobody has answered within" in ended[0].body
    assert "Nobody has answered yet" in ended[0].html
    await alice.react(room, question.event_id, "1️⃣")
    await alice.wait(lambda: len(finals(bot, alice, room)) == 2, what="a second answer")
    assert "The answer is: Postgres" in model.asked[-1].prompt
    assert "Which **database**?" in model.asked[-1].prompt
    assert (await over(bot, alice, room, question)).startswith("💬 alice")


def finals(bot: MemoryDaemon, person: Person, room: str) -> list[Shown]:
    return [m for m in bot.said(person, room) if m.msgtype == "m.text" and not m.is_card]


@pytest.mark.parametrize("answered_while_down", [False, True])
async def test_a_restart_finds_the_question_again(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel, answered_while_down: bool
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    await alice.say(room, ASKS)
    question = await card(bot, alice, room)
    await bot.term()
    if answered_while_down:
        await alice.react(room, question.event_id, "1️⃣")
    await bot.start()
    if not answered_while_down:
        await alice.react(room, question.event_id, "1️⃣")
    answer = (await alice.wait(lambda: finals(bot, alice, room)))[0]
    assert answer.body.startswith(f"{alice.user_id} answers: Postgres")
    assert len([m for m in bot.said(alice, room) if m.is_card]) == 1, "it is asked once"


async def test_a_question_whose_time_ends_while_the_daemon_is_away_ends_once(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    await alice.say(room, ASKS)
    question = await card(bot, alice, room)
    await bot.term()
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", isolation_level=None)) as c:
        assert c.execute("UPDATE cards SET expires = 1 WHERE verdict IS NULL").rowcount == 1
    await bot.start()
    assert (await over(bot, alice, room, question)).startswith("⌛ expired")
    [answer] = await alice.wait(lambda: finals(bot, alice, room), what="the turn that had asked")
    assert "nobody has answered" in answer.body, "who waits is told"
    await bot.term()
    await bot.start()
    assert (await alice.ask(room, "SAY still here")).body == "still here"
    [ended] = [m for m in bot.said(alice, room) if m.is_card]
    assert [look[0] for look in ended.looks] == [question.body[0], "⌛"]


async def test_a_stop_takes_the_question_back_and_others_wait_meanwhile(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    root = await alice.say(room, "about this", msgtype="m.notice")
    await alice.say(room, ASKS)
    question = await card(bot, alice, room)
    assert (await alice.answer_to(await alice.say(room, "SAY beside it", thread=root))).body == "beside it"
    line = await alice.say(room, "!steer SAY steered")
    await alice.wait(lambda: bool(alice.reactions(room, line)), what="⏳")
    await alice.say(room, "!stop")
    assert (await over(bot, alice, room, question)).startswith("➖ no longer needed")
    await alice.wait(lambda: finals(bot, alice, room)[-1].body == "steered", what="what waited")
