"""The sender: in order, once, whatever crashes or is refused; see tests/matrix/test_sender.py for the rest."""

from __future__ import annotations

import asyncio
import time

from roommate.domain import Draft, JsonObject, Rank, RoomId, UserId
from roommate.matrix import render
from tests.fast.conftest import MakeLine, MakePerson
from tests.matrix.line import text
from tests.matrix.test_sender import Look, all_said, bodies, file, room_of, work
from tests.patience import PATIENCE, until


async def test_what_was_written_while_down_is_sent_at_the_start(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    await bot.crash()
    await bot.open()
    await bot.say(room, "one", "two")
    await bot.crash()
    await bot.connect()
    await all_said(alice, room, bot.user_id, ["one", "two"])


async def test_a_sign_that_arrived_at_a_crash_is_edited_and_not_left_behind(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    bot.outbox.crash = True
    [live] = await bot.say(room, "working", rank=Rank.SIGN)
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["working"])
    await bot.crash()
    await bot.open()
    await bot.outbox.put([Draft(RoomId(room), text("done"), edits=live)])
    bot.run(bot.sender.run())
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["done"], what="one message, edited")


async def test_a_final_edit_tells_whom_it_answers(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))
    (row,) = await bot.put(Draft(room, render.content("*working*", notice=True)))
    final = render.content("**Done**", mentions=[UserId(alice.user_id)])
    await bot.put(Draft(room, final, edits=row))
    await alice.wait(lambda: [m for m in alice.messages(room, bot.user_id) if m.edits])
    (shown,) = alice.messages(room, bot.user_id)
    assert shown.content == final
    edit = alice.seen[-1]
    assert edit.content["m.mentions"] == {"user_ids": [alice.user_id]}
    assert edit.content["body"] == "* **Done**"


async def test_an_edit_of_what_never_arrived_is_a_message_of_its_own(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))
    (lost,) = await bot.put(Draft(room, text("x" * 70_000)))
    await bot.put(Draft(room, text("the answer"), edits=lost), Draft(room, {}, redacts=lost))
    (after,) = await bot.say(room, "after")
    await all_said(alice, room, bot.user_id, ["the answer", "after"])
    state, why = await bot.fate(lost)
    assert (state, "M_TOO_LARGE" in (why or "")) == ("failed", True)
    assert (await bot.fate(after))[0] == "sent"


async def test_reactions_are_sent_and_taken_back(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))
    said = await alice.say(room, "queue me")
    mark = {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "⏳"}}
    (row,) = await bot.put(Draft(room, mark, Rank.SIGN, "m.reaction"))
    await alice.wait(lambda: alice.reactions(room, said) == [(bot.user_id, "⏳")])
    await bot.put(Draft(room, {"reason": "done"}, Rank.SIGN, redacts=row))
    await alice.wait(lambda: alice.reactions(room, said) == [])


async def test_a_refused_row_does_not_hold_up_others(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    foreign, room = await alice.create_room(), await room_of(bot, alice)
    (refused,) = await bot.say(foreign, "may I?")
    await bot.say(room, "hello")
    await all_said(alice, room, bot.user_id, ["hello"])
    async with asyncio.timeout(PATIENCE):
        while (await bot.fate(refused))[0] == "unsent":
            await asyncio.sleep(0.01)
    state, why = await bot.fate(refused)
    assert (state, "M_FORBIDDEN" in (why or "")) == ("failed", True)


async def test_a_file_is_uploaded_and_then_sent(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    content = bytes(range(256)) * 8000
    await bot.put(file(room, content))
    await bot.say(room, "there it is")
    await all_said(alice, room, bot.user_id, ["all.txt", "there it is"])
    assert await alice.download(alice.messages(room, bot.user_id)[0].content["url"]) == content


async def test_a_file_too_large_is_refused_in_words(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = await room_of(bot, alice)
    most = await bot.homeserver.upload_limit()
    assert most is not None
    (row,) = await bot.put(file(room, bytes(most + 1)))
    await bot.say(room, "sorry")
    await all_said(alice, room, bot.user_id, ["sorry"])
    assert f"files of {most:,} bytes at most" in ((await bot.fate(row))[1] or "")


async def test_an_answer_whose_sign_nobody_saw_stands_in_its_place(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))
    (sign,) = await bot.outbox.put([Draft(room, text("working"), Rank.SIGN)])
    await bot.outbox.put([Draft(room, text("a file")), Draft(room, text("the answer"), edits=sign)])
    bot.sender.wake()
    await all_said(alice, room, bot.user_id, ["the answer", "a file"])


async def test_progress_is_coalesced_and_the_final_edit_is_the_last(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room, look = RoomId(await room_of(bot, alice)), Look()
    (row,) = await bot.put(Draft(room, text("begin", notice=True), Rank.SIGN))
    began = time.monotonic()
    turn = asyncio.create_task(work(bot, room, row, look))
    await until(lambda: look.drawn > 3, "a few steps that are shown")
    turn.cancel()
    took = time.monotonic() - began
    bot.sender.forget(row)
    await bot.put(Draft(room, text("the answer"), edits=row))
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["the answer"])
    await bot.say(room, "after")
    await alice.wait(lambda: "after" in bodies(alice, room, bot.user_id))
    shown = alice.messages(room, bot.user_id)[0]
    assert shown.looks[-1] == "the answer"
    steps = [int(look.split()[1]) for look in shown.looks[1:-1]]
    assert steps == sorted(set(steps))
    assert 1 < len(steps) == look.drawn <= took / 0.35 + 2, "one every 0.35 s"
    assert all(seen.content["m.mentions"] == {} for seen in alice.seen if seen.relation.get("rel_type") == "m.replace")


async def test_a_look_before_the_first_sign_has_arrived_waits_for_it(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room, look = RoomId(await room_of(bot, alice)), Look()
    (row,) = await bot.outbox.put([Draft(room, text("begin"), Rank.SIGN)])
    bot.sender.progress(room, row, look)
    bot.sender.wake()
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["step 0"])


async def test_progress_goes_on_after_a_restart(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room, look = RoomId(await room_of(bot, alice)), Look()
    (row,) = await bot.put(Draft(room, text("begin"), Rank.SIGN))
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["begin"])
    await bot.crash()
    await bot.connect()
    bot.sender.progress(room, row, look)
    await alice.wait(lambda: bodies(alice, room, bot.user_id) == ["step 0"])


async def test_a_look_that_cannot_be_drawn_hurts_nobody(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))

    async def broken() -> JsonObject:
        raise ZeroDivisionError

    (row,) = await bot.put(Draft(room, text("begin")))
    bot.sender.progress(room, row, broken)
    await asyncio.sleep(0.1)
    await bot.say(room, "fine")
    await all_said(alice, room, bot.user_id, ["begin", "fine"])


async def test_typing_is_shown_and_never_fails(line: MakeLine, person: MakePerson) -> None:
    bot, alice = await line(), await person("alice")
    room = RoomId(await room_of(bot, alice))
    await bot.sender.typing(room, True)
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, set()))
    await bot.sender.typing(room, False)
    await alice.wait(lambda: bot.user_id not in alice.typing[room])
    await bot.sender.typing(RoomId("!nowhere:localhost"), True)
