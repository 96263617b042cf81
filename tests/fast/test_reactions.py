"""Reactions to answers, edits of what is answered, replies, and threads: what they mean to the bot."""

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_ask_person import seen
from tests.harness import command, notice, run
from tests.patience import until
from tests.person import Person, Shown


async def final(person: Person, room: str, words: str, count: int = 1) -> list[Shown]:
    """The answers with these words, when there are so many."""

    def found() -> list[Shown]:
        said = [m for m in person.finals(room) if words in m.body]
        return said if len(said) >= count else []

    return await person.wait(found, what=f"{count} × {words!r}")


def _many(person: Person, room: str, words: str) -> int:
    return sum(words in m.body for m in person.finals(room))


async def test_an_answer_is_asked_for_again(bot: MemoryDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    asked = await alice.say(room, run("echo >>count; echo lines: $(wc -l <count)"), mentions=[bot.user_id])
    first = await alice.answer_to(asked)
    await bob.wait(lambda: any(m.event_id == first.event_id for m in bob.finals(room)), what="the answer")
    await bob.react(room, first.event_id, "🔁")
    second = (await final(alice, room, "lines: 2"))[-1]
    assert second.content["m.mentions"]["user_ids"] == [bob.user_id], "who wants it gets it"
    assert second.reply_to == asked
    await alice.react(room, first.event_id, "🎉")  # means nothing
    assert _many(alice, room, "exit code") == 2


async def test_an_answer_with_files_and_a_quote_is_asked_for_again(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    told = await alice.ask(room, "SAY the old answer")
    sent = await alice.upload(room, "a.txt", b"x", "text/plain")
    await alice.wait(lambda: bool(alice.reactions(room, sent)), what="📎")
    asked = await alice.say(room, "SAY with all of it", reply_to=told.event_id)
    answer = await alice.answer_to(asked)
    await alice.react(room, answer.event_id, "🔁")
    await final(alice, room, "with all of it", 2)
    first, second = [one.prompt for one in model.asked if "with all of it" in one.prompt][-2:]
    assert first == second
    assert "sent inbox/a.txt" in first
    assert "[This replies to your own message:\n> the old answer" in first


async def test_a_live_message_is_stopped_by_who_may(daemon: MakeDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    bot = await daemon(model=model, ALLOWED_USERS=alice.user_id)
    room = await bot.room_with(alice, mallory)
    asked = await alice.say(room, "DELAY 30\nSAY never", mentions=[bot.user_id])
    live = await alice.wait(lambda: next((m for m in bot.said(alice, room) if "working" in m.body), None))
    assert live
    await mallory.react(room, live.event_id, "🛑")
    await alice.react(room, live.event_id, "👀")
    await alice.react(room, live.event_id, "🛑")
    answer = await alice.answer_to(asked)
    assert answer.content["io.roommate.turn"]["state"] == "stopped"
    assert answer.event_id == live.event_id
    assert alice.user_id.partition(":")[0][1:] in answer.body, "who did it"


async def test_a_turn_is_stopped_before_the_daemon_has_heard_that_its_message_arrived(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson, homeserver: MemoryHomeserver
) -> None:
    """As when it is killed right after the message was sent, and people are quick."""
    alice = await person("alice")
    room = await bot.room_with(alice)
    with homeserver.unanswered(bot.user_id):
        asked = await alice.say(room, "DELAY 600\nSAY never")
        live = await alice.wait(lambda: next((m for m in bot.said(alice, room) if "working" in m.body), None))
        assert live
        await alice.react(room, live.event_id, "🛑")
        await until(lambda: seen(bot, room) == 2, "that the daemon has read it")
    answer = await alice.answer_to(asked)
    assert (answer.event_id, answer.content["io.roommate.turn"]["state"]) == (live.event_id, "stopped")


async def test_thumbs_are_kept_and_counted(daemon: MakeDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    answers = [await alice.ask(room, f"SAY number {number}.") for number in range(3)]
    for answer, key in zip(answers, ("👍", "👎", "👍🏽"), strict=True):
        taken_back = await alice.react(room, answer.event_id, key)
    counted = await command(bot, alice, room, "!usage")
    assert "👍 2 👎 1" in counted.body
    await alice.redact(room, taken_back)
    assert "👍 1 👎 1" in (await command(bot, alice, room, "!usage")).body


async def test_a_message_that_is_answered_and_then_changed_can_be_asked_again(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, "SAY the first wording")
    await alice.answer_to(asked)
    await alice.edit(room, asked, "SAY the first wording")  # nothing has changed
    await alice.edit(room, asked, "SAY the second wording")
    offer = await notice(bot, alice, room, "first wording")
    await alice.wait(lambda: (bot.user_id, "🔁") in alice.reactions(room, offer.event_id), what="🔁 to tap")
    await alice.edit(room, asked, "SAY the third wording")
    await alice.react(room, offer.event_id, "🔁")
    await final(alice, room, "the third wording")
    assert not _many(alice, room, "the second wording")
    assert len([m for m in bot.said(alice, room) if "I had begun" in m.body]) == 1, "it is said once"


async def test_a_reply_brings_what_it_replies_to(bot: MemoryDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    talk = await bob.say(room, "line one\nline two " + "x" * 5000)
    await alice.wait(lambda: any(m.event_id == talk for m in alice.messages(room)), what="what bob said")
    asked = await alice.say(room, "SAY got it", reply_to=talk, mentions=[bot.user_id])
    await alice.answer_to(asked)
    prompt = model.asked[-1].prompt
    assert f"[This replies to a message of {bob.user_id}:\n> line one\n> line two xxx" in prompt
    assert len(prompt) < 2500
    gone = await bob.say(room, "soon gone")
    await bob.redact(room, gone)
    asked = await alice.say(room, "SAY all the same", reply_to=gone, mentions=[bot.user_id])
    await alice.answer_to(asked)
    assert "cannot be read any more" in model.asked[-1].prompt


async def test_a_thread_where_the_bot_has_spoken_is_for_it(bot: MemoryDaemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    root = await alice.say(room, "people talk")
    quiet = await bob.say(room, "SAY nobody asked me", thread=root)
    called = await alice.say(room, "SAY here I am", thread=root, mentions=[bot.user_id])
    first = await alice.answer_to(called)
    assert first.content["m.relates_to"] == {
        "rel_type": "m.thread", "event_id": root, "is_falling_back": False, "m.in_reply_to": {"event_id": called}
    }  # fmt: skip
    await alice.say(room, "SAY without a name", thread=root)
    await final(alice, room, "without a name")
    answer = (await final(alice, room, "here I am"))[0]
    await alice.say(room, "SAY below an answer", thread=answer.event_id)
    await final(alice, room, "below an answer")
    assert not [m for m in bot.said(alice, room) if "nobody asked me" in m.body], quiet
