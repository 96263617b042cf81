"""A person writes in a room and gets work done: what the chat promises, seen by a client."""

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import pytest

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import command, notice, tool
from tests.patience import until
from tests.scripted_model import ScriptedModel


async def test_an_answer_at_once_is_one_event_and_a_longer_one_is_one_edited_message(
    bot: MemoryDaemon, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    quick = [await alice.ask(room, "SAY quick") for _ in range(10)]
    assert any(answer.edits == 0 for answer in quick)
    asked = await alice.say(room, "SAY one\nDELAY 0.6\nSAY two\nDELAY 0.6\nSAY three")
    live = await alice.wait(lambda: next((m for m in bot.said(alice, room) if "one" in m.body), None))
    assert live is not None
    assert live.msgtype == "m.notice"
    answer = await alice.answer_to(asked)
    assert answer.event_id == live.event_id
    assert answer.body.split() == ["one", "two", "three"]
    assert answer.content["m.mentions"] == {"user_ids": [alice.user_id]}
    assert answer.edits >= 2


async def test_it_is_typing_while_it_works(bot: MemoryDaemon, person: MakePerson, model: MemoryModel) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, f"GATE {room}\nSAY done")
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
    model.open(room)
    await alice.answer_to(asked)
    await alice.wait(lambda: bot.user_id not in alice.typing.get(room, ()), what="no typing")


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_end_that_cannot_be_stored_ends_neither_the_room_nor_the_daemon(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel, stopped: bool
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, f"GATE {room}\nSAY never")
    await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", isolation_level=None)) as c:
        c.execute("PRAGMA foreign_keys=OFF")
        c.execute("DELETE FROM turns WHERE stop IS NULL")  # as nobody does
    if stopped:
        await command(bot, alice, room, "!stop")
    else:
        model.open(room)
    assert (await alice.ask(room, "SAY it goes on")).body == "it goes on"


async def test_stop_all_drops_what_waits(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "DELAY 30\nSAY never")
    waiting = await alice.say(room, "SAY never either")
    await alice.wait(lambda: bool(alice.reactions(room, waiting)), what="⏳")
    await alice.say(room, "!stop all")
    await notice(bot, alice, room, "1 waiting message dropped")
    await alice.wait(lambda: not alice.reactions(room, waiting), what="the mark taken off")
    await alice.ask(room, "SAY fresh")
    assert not [m for m in alice.finals(room) if "never" in m.body]


async def test_a_waiting_message_that_becomes_a_command_does_not_wait(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, "DELAY 30\nSAY never")
    waiting = await alice.say(room, "wait, not that")
    await alice.wait(lambda: bool(alice.reactions(room, waiting)), what="⏳")
    await alice.edit(room, waiting, "!stop")
    assert (await alice.answer_to(asked)).content["io.roommate.turn"]["state"] == "stopped"
    await alice.wait(lambda: not alice.reactions(room, waiting), what="the mark taken off")


async def test_a_name_of_several_words_calls_it(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    bot = await daemon(start=False, model=model)
    bot.rename("Robin the Bot")
    await bot.start()
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    await alice.say(room, "Robin the Bot: !ping", mentions=[bot.user_id])
    await notice(bot, alice, room, "Pong")
    await alice.say(room, "my Robin the Bot said:\nSAY never")
    heard = await alice.say(room, "The build is red. Hey Robin the Bot can you look?\nSAY I look")
    assert (await alice.answer_to(heard)).body.startswith("I look")
    assert not [m for m in bot.said(alice, room) if "never" in m.body], "it was talked about"


async def test_two_bots_do_not_talk_for_ever(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    """Also where it is started anew after each answer."""
    bot = await daemon(model=model, LOOP_LIMIT="3")
    alice, echo = await person("alice"), await person("echo")
    room = await bot.room_with(alice, echo)
    for number in range(3):
        await echo.ask(room, f"{bot.user_id} SAY {number}")
        await restarted(bot)
    waits = await echo.say(room, f"{bot.user_id} SAY once more")
    told = await notice(bot, alice, room, "as another bot would")
    assert told.body.startswith(f"⏸ {echo.user_id[1:].partition(':')[0]} has written")
    await restarted(bot)
    further = await echo.say(room, f"{bot.user_id} SAY and more")
    await alice.wait(lambda: (bot.user_id, "⏳") in alice.reactions(room, further), what="⏳")

    def answers() -> list[str]:
        return [m.body for m in alice.finals(room) if m.sender == bot.user_id]

    assert answers() == ["0", "1", "2"]
    await bot.term()
    await alice.say(room, "what is going on here?")
    await bot.start()
    await alice.wait(lambda: any("and more" in body for body in answers()), what="an answer to what waited")
    assert "once more" in "".join(answers()), "in order"
    assert not alice.reactions(room, waits)
    assert len([m for m in bot.said(alice, room) if "as another bot would" in m.body]) == 1


async def restarted(bot: MemoryDaemon) -> None:
    await bot.term()
    await bot.start()


async def test_a_turn_that_runs_in_a_circle_asks(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    same = tool("read_file", path="none.txt")
    answer = await alice.ask(room, "\n---\n".join([same] * 8))
    assert "the same 3 times in a row" in answer.body
    assert "What shall I do instead?" in answer.body
    assert answer.body.endswith(" tokens") and "3 steps, **3 failed**" in answer.body


async def test_a_call_that_no_daemon_survives_is_made_three_times(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel, tmp_path: Path
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    trace = tmp_path / "trace"
    asked = await alice.say(room, "\n---\n".join([tool("run_command", command=f"echo ran >> {trace}; sleep 60")] * 8))
    for times in range(1, 4):
        await until(lambda: trace.exists() and len(trace.read_text().split()) == times, f"call {times}")  # noqa: B023
        await restarted(bot)
    assert "the same 3 times in a row" in (await alice.answer_to(asked)).body


async def test_commands_answer(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await notice(bot, alice, room, "Hello")
    assert "Pong" in (await command(bot, alice, room, "!ping")).body
    everyday = (await command(bot, alice, room, "!help")).body
    assert len(re.findall(r"`![a-z]+[^`]*` [a-z]", everyday.partition("`!help all`")[0])) == 6, "what people need"
    assert len(everyday) < 600 and "perator" not in everyday
    everything = (await command(bot, alice, room, "!help all")).body
    assert "!reset workspace" in everything and "!redeploy" not in everything
    one = (await command(bot, alice, room, "!help !stop")).body
    assert one.startswith("- `!stop`, `!stop all` stops what runs") and "\n" not in one
    assert "Did you mean `!status`?" in (await command(bot, alice, room, "!help statsu")).body
    assert "`!status`" in (await command(bot, alice, room, "!statsu")).body
    assert "scripted" in (await command(bot, alice, room, "!model")).body
    assert "Only an operator" in (await command(bot, alice, room, "!model other")).body
    assert "Nothing runs" in (await command(bot, alice, room, "!stop")).body
    local = bot.user_id[1:].partition(":")[0]
    assert "Pong" in (await command(bot, alice, room, f"{local}: !ping")).body
    await alice.ask(room, "USAGE 1000 200\nSAY hi")
    status = (await command(bot, alice, room, "!status")).body
    assert "1 turn," in status
    assert "1\u2009200 tokens" in status


async def test_status_is_answered_while_a_turn_runs(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "DELAY 100\nSAY never")
    await alice.say(room, "!status")
    status = await notice(bot, alice, room, "turn: number")
    assert not alice.finals(room)
    assert f"for {alice.user_id[1:].partition(':')[0]}," in status.body, "people are called by their names"
    await alice.say(room, "!stop")


async def test_an_operator_sets_the_model_of_one_room(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room, other = await bot.room_with(alice), await bot.room_with(alice)
    await alice.say(room, "!model rehearsal")
    await notice(bot, alice, room, "From the next turn")
    assert "rehearsal" in (await alice.ask(room, "who are you?")).body
    assert "echo: who are you?" in (await alice.ask(other, "who are you?")).body
    unknown = await command(bot, alice, room, "!model agent:copilot")
    assert "Nothing was changed: the model is 'agent:copilot'" in unknown.body
    assert "one name" in (await command(bot, alice, room, "!model gpt 4")).body
    assert "`rehearsal`" in (await command(bot, alice, room, "!model")).body
    await alice.say(room, "!model default")
    await notice(bot, alice, room, "openai/scripted")
    assert "echo: who?" in (await alice.ask(room, "who?")).body


async def test_an_operator_sees_which_models_the_keys_reach(daemon: MakeDaemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    async with ScriptedModel() as server:
        bot = await daemon(
            OPERATORS=alice.user_id,
            LLM_MODEL="openai/scripted",
            LLM_API_BASE=server.url,
            LLM_API_KEY="sk-x",
            ANTHROPIC_API_KEY="sk-y",
        )
        room = await bot.room_with(alice, bob)
        await notice(bot, alice, room, "Hello")
        assert "openai does not tell: 404" in (await command(bot, alice, room, "!models")).body
        server.models = [{"id": f"own-{number}"} for number in range(60)] + [{"odd": 1}]
        listed = await command(bot, alice, room, "!models own-")
        assert "- `openai/own-0`" in listed.body
        assert "… and 10 more" in listed.body
        claude = (await command(bot, alice, room, "!models ANTHROPIC")).body
        assert "`anthropic/claude-" in claude
        assert "own-" not in claude
        assert "No model found" in (await command(bot, alice, room, "!models nothing-like-it")).body
        assert "Only an operator" in (await command(bot, bob, room, "!models")).body


@pytest.mark.parametrize(
    ("model", "end", "listed"),
    [("ollama/qwen3", "", "ollama_chat/own"), ("my-own", "/v1", "openai/own"), ("meta/x", "/v1", "openai/own")],
)
async def test_a_server_of_ones_own_is_asked_for_its_models(
    daemon: MakeDaemon, person: MakePerson, model: str, end: str, listed: str
) -> None:
    alice = await person("alice")
    async with ScriptedModel() as server:
        server.models = [{"id": "own"}]
        base = server.url.removesuffix("/v1") + end
        bot = await daemon(OPERATORS=alice.user_id, LLM_MODEL=model, LLM_API_BASE=base)
        room = await bot.room_with(alice)
        await notice(bot, alice, room, "Hello")
        assert (await command(bot, alice, room, "!models")).body == f"- `{listed}`"


async def test_reset_forgets_the_conversation_and_keeps_the_files(
    bot: MemoryDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, tool("write_file", path="kept.txt", content="kept") + "\n---\nSAY a secret word")
    await alice.say(room, "!reset")
    await notice(bot, alice, room, "Forgotten: 1 turn")
    answer = await alice.ask(room, tool("read_file", path="kept.txt") + "\n---\nECHO")
    assert "kept" in answer.body
    assert "a secret word" not in json.dumps(model.asked[-1].messages)


async def test_the_workspace_is_deleted_only_after_a_yes(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, tool("write_file", path="kept.txt", content="kept") + "\n---\nSAY ok")
    look = tool("run_command", command="cat kept.txt || echo nothing") + "\n---\nECHO"

    await alice.say(room, "!reset workspace")
    card = await notice(bot, alice, room, "Delete **every file**")
    choices = [(bot.user_id, "✅"), (bot.user_id, "❌")]
    await alice.wait(lambda: alice.reactions(room, card.event_id) == choices, what="what to tap")
    await alice.react(room, card.event_id, "❌")
    await notice(bot, alice, room, "nothing was deleted")
    await alice.wait(lambda: alice.reactions(room, card.event_id) == [(alice.user_id, "❌")], what="them taken off")
    assert "nothing" not in (await alice.ask(room, look)).body

    await alice.react(room, card.event_id, "✅")  # it is closed
    again = await command(bot, alice, room, "!reset workspace")
    assert "Delete **every file**" in again.body
    await alice.react(room, again.event_id, "✅")
    await notice(bot, alice, room, "the workspace is empty now")
    assert "nothing" in (await alice.ask(room, look)).body

    later = await command(bot, alice, room, "!reset workspace")
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db", isolation_level=None)) as c:
        c.execute("UPDATE cards SET what='dream' WHERE id = (SELECT max(id) FROM cards)")  # as a release after this one
    await alice.react(room, later.event_id, "✅")
    await notice(bot, alice, room, "what a question of the kind `dream` means I do not know, so nothing was done")


async def test_in_a_room_of_three_it_answers_only_when_it_is_meant(bot: MemoryDaemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    await alice.say(room, "SAY not for the bot")
    meant = await alice.say(room, f"{bot.user_id}: SAY meant", mentions=[bot.user_id])
    answer = await alice.answer_to(meant)
    assert answer.body == "meant"
    assert answer.reply_to == meant
    assert (await bob.answer_to(await bob.say(room, "SAY a reply", reply_to=answer.event_id))).body == "a reply"
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    assert [m.body for m in bot.said(alice, room) if m.msgtype == "m.text"] == ["meant", "a reply"]


async def test_a_thread_is_a_conversation_of_its_own(bot: MemoryDaemon, person: MakePerson, model: MemoryModel) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    root = await alice.say(room, "SAY in the room")
    await alice.answer_to(root)
    answer = await alice.answer_to(await alice.say(room, "SAY in the thread", thread=root))
    assert answer.thread == root
    assert "in the room" not in json.dumps(model.asked[-1].messages)
    for said in ("!ping", "!reset workspace", bot.user_id):
        before = len(bot.said(alice, room))
        await alice.say(room, said, thread=root)
        await alice.wait(lambda before=before: len(bot.said(alice, room)) > before, what=f"the answer to {said}")  # type: ignore[misc]
        assert bot.said(alice, room)[before].thread == root
    card = await notice(bot, alice, room, "Delete **every file**")
    await alice.react(room, card.event_id, "❌")
    assert (await notice(bot, alice, room, "nothing was deleted")).thread == root


async def test_somebody_who_is_not_allowed_is_told_once(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    bot = await daemon(model=model, ALLOWED_USERS=alice.user_id, OPERATORS=alice.user_id)
    room = await bot.room_with(alice, mallory)
    for text in ("SAY evil", "!reset workspace", f"{bot.user_id} SAY evil"):
        await mallory.say(room, text, mentions=[bot.user_id])
    told = await notice(bot, alice, room, "not on my list")
    assert alice.user_id in told.body
    meant = await alice.say(room, "SAY good", mentions=[bot.user_id])
    assert (await alice.answer_to(meant)).body == "good"
    assert len([m for m in bot.said(alice, room) if "not on my list" in m.body]) == 1
    assert not [m for m in bot.said(alice, room) if "evil" in m.body or "Delete" in m.body]
    card = await command(bot, alice, room, "!reset workspace")
    await mallory.react(room, card.event_id, "✅")
    await alice.react(room, card.event_id, "❌")
    await notice(bot, alice, room, "nothing was deleted")

    lure = await mallory.create_room([bot.user_id])
    await mallory.wait(lambda: mallory.members(lure).get(bot.user_id) == "leave", what="the declined invite")


async def test_in_an_encrypted_room_it_says_that_it_cannot_read(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await alice.create_room([bot.user_id], encrypted=True)
    greeting = await notice(bot, alice, room, "cannot read encrypted messages")
    assert "switch “Enable end-to-end encryption” off" in greeting.body
    for ciphertext in ("AwgA", "AwgB"):
        content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": ciphertext, "session_id": "x"}
        await alice.send(room, "m.room.encrypted", content)
    await notice(bot, alice, room, "cannot read")
    await alice.say(room, "!ping")  # a client that does not encrypt: everything before it has been dealt with
    await notice(bot, alice, room, "Pong")
    assert len([m for m in bot.said(alice, room) if "cannot read" in m.body]) == 2, "the greeting, and once"


async def test_it_never_answers_notices_its_own_words_or_edits(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "SAY from a bot", msgtype="m.notice")
    asked = await alice.say(room, "SAY once")
    await alice.answer_to(asked)
    await alice.edit(room, asked, "SAY edited after it was answered")
    await alice.ask(room, "SAY last")
    assert [m.body for m in alice.finals(room)] == ["once", "last"]


async def test_a_long_answer_is_a_head_and_a_file(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, "FILL 200000")
    assert 4000 < len(answer.body) < 6000, "nobody reads more in chat"
    assert answer.body.endswith("the whole answer is in the file below.*")
    file = await alice.wait(lambda: next((m for m in bot.said(alice, room) if m.msgtype == "m.file"), None))
    assert file is not None
    assert len(await alice.download(file.content["url"])) >= 200_000


@pytest.mark.parametrize(
    "bad",
    [
        "TOOL run_command {not json",
        "TOOL run_command []",
        "TOOL run_command {}",
        'TOOL run_command {"command": 7}',
        'TOOL run_command {"command": "true", "wat": 1}',
        "TOOL nonsense {}",
        "TOOL read_file",
        'TOOL read_file {"path": "no/such/file"}',
        'TOOL read_file {"path": "/dev/zero"}',
        'TOOL write_file {"path": "/proc/x", "content": "x"}',
        'TOOL edit_file {"path": "no/such/file", "old": "a", "new": "b"}',
        'TOOL search {"pattern": "("}',
        'TOOL run_command {"command": "head -c 70000 /dev/urandom"}',
        'TOOL run_command {"command": "yes | head -c 5000000"}',
        'TOOL run_command {"command": "printf \\"\\\\000\\\\377\\\\033[31m\\""}',
        'TOOL run_command {"command": "kill -9 $$"}',
        'TOOL run_command {"command": "sleep 60", "timeout": 0.2}',
        'TOOL stop_background {"id": "nope"}',
    ],
)
async def test_a_bad_tool_call_is_a_result_and_the_next_turn_is_good(
    bot: MemoryDaemon, person: MakePerson, bad: str
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, f"{bad}\n---\nSAY survived")
    assert answer.body.startswith("survived")
    good = await alice.ask(room, tool("run_command", command="echo good") + "\n---\nECHO")
    assert "good" in good.body


async def test_parallel_calls_run_in_parallel(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    # Each waits for a file that another one writes: one after the other they would never end.
    calls = [
        tool("run_command", command=f"touch {me}; while [ ! -e {other} ]; do sleep 0.02; done", timeout=10)
        for me, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    answer = await alice.ask(room, "\n".join(calls) + "\n---\nECHO")
    assert "timed out" not in answer.body


async def test_the_rounds_of_a_turn_are_bounded(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, MAX_AGENT_TURNS="2")
    room = await bot.room_with(alice)
    rounds = "\n---\n".join([tool("run_command", command="true")] * 5)
    answer = await alice.ask(room, rounds)
    assert "2 rounds" in answer.body
    assert answer.content["io.roommate.turn"]["state"] == "rounds"
