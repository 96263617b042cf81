"""A turn that only plans: it looks, and people choose what becomes of the plan."""

import pytest

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_ask_person import card, finals, over
from tests.harness import tool

WRITE = tool("write_file", path="made.txt", content="made")
LOOK = tool("list_files")
PLAN = f"!plan {WRITE}\n{LOOK}\n---\nECHO\nSAY the plan"


async def test_it_looks_and_cannot_do_anything_else(bot: MemoryDaemon, person: MakePerson, model: MemoryModel) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, PLAN)
    question = await card(bot, alice, room)
    answer = finals(bot, alice, room)[0]
    assert "there is no tool `write_file`" in answer.body
    assert "made.txt" not in answer.body
    assert question.content["m.mentions"] == {"user_ids": [alice.user_id]}, "it rings"
    offered = {one["function"]["name"] for one in model.asked[-1].body["tools"]}
    assert offered == {"read_file", "list_files", "search", "fetch_url", "todo", "ask_person"}
    assert "You plan now, and change nothing" in model.asked[-1].messages[0]["content"]
    assert (await alice.ask(room, "SAY of something else")).body == "of something else", "that is no change of it"
    await alice.say(room, "no")
    assert (await over(bot, alice, room, question)).startswith("❌")
    assert (await alice.ask(room, "SAY last")).body == "last"
    assert len(finals(bot, alice, room)) == 3, "and nothing is done"


async def test_yes_carries_it_out_and_a_reply_changes_it(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "!plan SAY the first plan")
    first = await card(bot, alice, room)
    await alice.say(room, "SAY the second plan", reply_to=first.event_id)
    assert (await over(bot, alice, room, first)).startswith("💬 alice")
    await alice.wait(lambda: len(finals(bot, alice, room)) == 2)
    second = await card(bot, alice, room)
    assert second.event_id != first.event_id
    await alice.react(room, second.event_id, "👍")
    await alice.wait(lambda: len(finals(bot, alice, room)) == 3)
    assert finals(bot, alice, room)[-1].body == "echo: Carry out the plan."
    assert any(m["role"] == "assistant" and m["content"] == "the second plan" for m in model.asked[-1].messages)
    offered = {one["function"]["name"] for one in model.asked[-1].body["tools"]}
    assert "run_command" in offered, "it is a turn as any other"


@pytest.mark.parametrize("during", ["the turn", "the question"])
async def test_a_restart_changes_nothing_of_that(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel, during: str
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    if during == "the turn":
        await alice.say(room, f"!plan GATE {room}\nSAY begun\n{WRITE}\n---\nECHO")
        await alice.wait(lambda: any("working" in m.body for m in bot.said(alice, room)))
    else:
        await alice.say(room, "!plan SAY a plan")
        await card(bot, alice, room)
    await bot.term()
    model.open(room)
    await bot.start()
    question = await card(bot, alice, room)
    if during == "the turn":
        assert "there is no tool `write_file`" in finals(bot, alice, room)[0].body
    await alice.react(room, question.event_id, "✅")
    await alice.wait(lambda: finals(bot, alice, room)[-1].body == "echo: Carry out the plan.")


async def test_without_a_task_it_says_how(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "!plan")
    await alice.wait(lambda: any("`!plan TASK`" in m.body for m in bot.said(alice, room)))
