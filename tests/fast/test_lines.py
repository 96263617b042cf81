"""What is said to a turn that runs: steering, and lines that are one prompt."""

import json

import pytest

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import notice, tool
from tests.patience import until
from tests.person import Person, Shown

WAITS = tool("ask_person", question="begun?")
"""A step that lasts until people let it go."""


async def running(bot: MemoryDaemon, person: Person, room: str, script: str) -> tuple[str, str]:
    """Ask for a turn with a step that lasts; gives the live message, and what lets it `go`."""
    await person.say(room, script)

    def up() -> tuple[str, str] | None:
        said = bot.said(person, room)
        live = [m.event_id for m in said if "waits for your answer" in m.body]
        cards = [m.event_id for m in said if m.is_card]
        return (live[-1], cards[-1]) if live and cards else None

    found = await person.wait(up, what="a turn that waits")
    assert found is not None
    return found


async def go(person: Person, room: str, card: str) -> None:
    await person.say(room, "go on", reply_to=card)


def answers(bot: MemoryDaemon, person: Person, room: str) -> list[Shown]:
    return [m for m in bot.said(person, room) if m.msgtype == "m.text" and not m.is_card]


@pytest.mark.parametrize("reply", [False, True])
async def test_a_line_reaches_the_model_at_the_next_boundary(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel, reply: bool
) -> None:
    alice = await person("alice")
    await alice.call("PUT", f"profile/{alice.user_id}/displayname", {"displayname": "Alice L."})
    room = await bot.room_with(alice)
    live, card = await running(bot, alice, room, f"{WAITS}\n---\nSAY never")
    text = "use tabs\nSAY with tabs"
    line = await alice.say(room, text, reply_to=live) if reply else await alice.say(room, f"!steer {text}")
    await alice.wait(lambda: bool(alice.reactions(room, line)), what="⏳")
    await go(alice, room, card)
    await alice.wait(lambda: answers(bot, alice, room))
    answer = answers(bot, alice, room)[0]
    assert answer.event_id == live
    assert answer.body.splitlines()[0] == "with tabs"
    assert "↪ <strong>Alice L.</strong>: use tabs" in answer.html, "people go on seeing it"
    assert line in answer.content["io.roommate.turn"]["also"]
    await alice.wait(lambda: not alice.reactions(room, line), what="the mark taken off")
    roles = [message["role"] for message in model.asked[-1].talk]
    assert roles[1:] == ["user", "assistant", "tool", "assistant", "user"]
    assert len(answers(bot, alice, room)) == 1


async def test_the_mark_is_taken_off_when_the_turn_takes_the_line_in(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    _, card = await running(bot, alice, room, f"{WAITS}\n---\nSAY never")
    line = await alice.say(room, "!steer " + tool("run_command", command="sleep 300"))
    await alice.wait(lambda: bool(alice.reactions(room, line)), what="⏳")
    await go(alice, room, card)
    await alice.wait(lambda: not alice.reactions(room, line), what="the mark taken off")
    assert not answers(bot, alice, room), "it goes on"
    await alice.say(room, "!stop")


async def test_a_line_that_comes_too_late_is_the_next_prompt_before_what_waits(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, f"SAY begun\nGATE {room}\nSAY over")
    await alice.wait(lambda: any("begun" in m.body for m in bot.said(alice, room)))
    for line in ("SAY waited", "!steer SAY steered"):
        waits = await alice.say(room, line)
        await alice.wait(lambda waits=waits: bool(alice.reactions(room, waits)), what="⏳")  # type: ignore[misc]
    model.open(room)
    await alice.wait(lambda: len(alice.finals(room)) == 3, what="three answers")
    assert [m.body.split()[-1] for m in alice.finals(room)] == ["over", "steered", "waited"]
    assert "↪" not in alice.finals(room)[1].html
    assert (await alice.answer_to(await alice.say(room, "!steer SAY nothing runs"))).body == "nothing runs"


async def test_a_line_can_be_changed_and_taken_back_while_it_waits(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    _, card = await running(bot, alice, room, f"{WAITS}\n---\nSAY never")
    changed = await alice.say(room, "!steer SAY worse")
    gone = await alice.say(room, "!steer SAY gone")
    for line in (changed, gone):
        await alice.wait(lambda line=line: bool(alice.reactions(room, line)), what="⏳")  # type: ignore[misc]
    await alice.redact(room, gone)
    await alice.wait(lambda: not alice.reactions(room, gone), what="⏳ taken off, while the bot has nothing to say")
    await alice.edit(room, changed, "!steer SAY better")
    await go(alice, room, card)
    await alice.wait(lambda: answers(bot, alice, room))
    assert answers(bot, alice, room)[0].body.startswith("better")
    assert "gone" not in json.dumps(model.asked[-1].messages)


async def test_a_turn_that_goes_on_after_a_restart_takes_its_lines_in(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    live, card = await running(bot, alice, room, f"{WAITS}\n---\nSAY never")
    line = await alice.say(room, "!steer SAY steered")
    await alice.wait(lambda: bool(alice.reactions(room, line)), what="⏳")
    await bot.term()
    await bot.start()
    await go(alice, room, card)
    await alice.wait(lambda: answers(bot, alice, room))
    answer = answers(bot, alice, room)[0]
    assert (answer.event_id, answer.body.split()[0]) == (live, "steered")
    assert "↪" in answer.html


async def test_in_a_group_everybody_may_steer_and_is_named(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    live, card = await running(bot, alice, room, f"{bot.user_id}: {WAITS}\n---\nSAY never")
    line = await bob.say(room, "SAY for bob", reply_to=live)
    await alice.wait(lambda: bool(alice.reactions(room, line)), what="⏳")
    await go(alice, room, card)
    await alice.wait(lambda: answers(bot, alice, room))
    answer = answers(bot, alice, room)[0]
    assert answer.body.split("\n")[0] == "for bob"
    assert model.asked[-1].prompt.startswith("bob: ") or "bob" in model.asked[-1].prompt
    assert line in answer.content["io.roommate.turn"]["also"]


# ── Lines that are one prompt ─────────────────────────────────────────────────────────────────────


async def test_quick_lines_are_one_prompt_and_none_is_asked_for_alone(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, SAME_PROMPT_SECONDS="30")
    room = await bot.room_with(alice)
    first = await alice.say(room, "DELAY 30\nSAY never alone")
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
    second = await alice.say(room, "---\nSAY both")
    await until(lambda: "both" in model.asked[-1].prompt)
    await alice.redact(room, first)  # it is asked: too late for that, as for any prompt
    await alice.say(room, "!stop")
    answer = await alice.answer_to(first)
    assert answer.content["io.roommate.turn"]["also"] == [second]
    assert "never alone" in model.asked[-1].prompt
    assert "both" in model.asked[-1].prompt
    assert "never alone" not in answer.body


async def test_quick_lines_that_waited_together_are_one_prompt(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, SAME_PROMPT_SECONDS="30", ANSWER_EVERYTHING="true")
    room = await bot.room_with(alice, bob)
    await alice.say(room, "DELAY 30\nSAY never")
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
    lines = [await bob.say(room, text) for text in ("first", "secodn", "third", "SAY done")]
    await bob.wait(lambda: bool(bob.reactions(room, lines[-1])), what="⏳")
    await bob.edit(room, lines[1], "second")
    await bob.redact(room, lines[2])
    await notice(bot, bob, room, "Hello")
    await alice.say(room, "!stop")
    await bob.wait(lambda: len(answers(bot, bob, room)) == 2, what="two answers")
    answer = answers(bot, bob, room)[-1]
    assert (answer.body, answer.reply_to) == ("done", lines[0])
    assert model.asked[-1].prompt.split() == [bob.user_id[1:].partition(":")[0] + ":", "first", "second", "SAY", "done"]
    assert answer.content["io.roommate.turn"]["also"] == [lines[1], lines[3]]


async def test_lines_of_another_breath_or_person_are_prompts_of_their_own(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, SAME_PROMPT_SECONDS="0.001", ANSWER_EVERYTHING="true")
    room = await bot.room_with(alice, bob)
    await alice.say(room, f"GATE {room}\nSAY one")
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
    await alice.say(room, "SAY two")
    await bob.say(room, "SAY three")
    model.open(room)
    await alice.wait(lambda: len(answers(bot, alice, room)) == 3, what="three answers")
    assert [m.body for m in answers(bot, alice, room)] == ["one", "two", "three"]


# ── What is planned and done ──────────────────────────────────────────────────────────────────────


async def test_the_list_is_in_the_message_over_a_restart_and_in_the_details(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    before = tool("todo", items=["[x] look", "[>] mend", "[ ] test"])
    after = tool("todo", items="[x] look\n[x] mend\n[x] test")
    waits = tool("run_command", command="sleep 30")
    script = f"{before}\n---\n{waits}\n---\n{WAITS}\n---\n{after}\n---\nSAY all done"
    await alice.say(room, script)
    live = await alice.wait(lambda: next((m for m in bot.said(alice, room) if "▶ **mend**" in m.body), None))
    await bot.term()
    await bot.start()
    card = await alice.wait(lambda: next((m for m in bot.said(alice, room) if m.is_card), None))
    assert live is not None
    assert card is not None
    both = ("go on where I was", "1 of 3 done")
    await alice.wait(lambda: any(all(word in m.body for word in both) for m in bot.said(alice, room)), what="the list")
    await go(alice, room, card.event_id)
    await alice.wait(lambda: answers(bot, alice, room))
    answer = answers(bot, alice, room)[0]
    assert answer.event_id == live.event_id
    assert all(f"☑ {step}" in answer.html for step in ("look", "mend", "test"))
    assert "<strong>todo</strong>" not in answer.html
