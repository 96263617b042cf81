"""Nothing is lost, doubled or done twice, whatever is killed."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2e import crash
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def test_kill_9_at_random_points(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    """A short run; `python -m tests.e2e.crash --points 200` is the long one."""
    seed = int.from_bytes(os.urandom(3))
    verdict = await crash.run(await daemon(model=model), await person("alice"), model, points=8, seed=seed)
    assert (verdict.lost, verdict.doubled, verdict.run_twice) == ([], [], []), (seed, verdict)
    assert verdict.in_order, (seed, verdict)


async def test_kills_in_a_burst_of_ten(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    seed = int.from_bytes(os.urandom(3))
    verdict = await crash.run(await daemon(model=model), await person("alice"), model, points=3, seed=seed, burst=10)
    assert verdict.messages == 10
    assert (verdict.lost, verdict.doubled, verdict.run_twice) == ([], [], []), (seed, verdict)
    assert verdict.in_order, (seed, verdict)


async def test_a_turn_goes_on_after_a_kill_and_its_running_call_is_not_run_again(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    command = "echo begun >> trace.txt; echo it r''uns; sleep 30; echo slept >> trace.txt"
    script = (
        f'TOOL run_command {{"command": "{command}"}}\n---\nTOOL run_command {{"command": "cat trace.txt"}}\n---\nECHO'
    )
    asked = await alice.say(room, script)
    await alice.wait(lambda: any("it runs" in m.body for m in bot.said(alice, room)), what="the running command")
    [live] = [m for m in bot.said(alice, room) if "sleep 30" in m.body]
    await bot.kill9()
    await bot.start()
    answer = await alice.answer_to(asked)
    assert answer.event_id == live.event_id, "the same message goes on"
    assert answer.body.count("begun") == 1
    assert "slept" not in answer.body
    assert "unknown: the daemon restarted while this ran" in answer.html, "people see it among the steps"
    last = next(request for request in reversed(model.asked) if request.prompt == script)
    first_result = next(message["content"] for message in last.messages if message["role"] == "tool")
    assert "unknown: the daemon restarted" in first_result


async def test_more_messages_than_one_sync_gives_written_while_it_was_down_are_answered_in_order(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY hello")
    await bot.term()
    for number in range(110):
        await alice.say(room, f"SAY number {number}.")
    await bot.start()
    for many in range(11, 112, 10):  # each ten in their time
        await alice.wait(lambda least=many: len(alice.finals(room)) >= least, what=f"{many} answers")  # type: ignore[misc]
    assert [m.body for m in alice.finals(room)][1:] == [f"number {number}." for number in range(110)]


async def test_the_homeserver_is_killed_and_comes_back(model: ScriptedModel, learned: Path, nursery: Nursery) -> None:
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        account, alice_account = await synapse.register("bot", PASSWORD), await synapse.register("alice", PASSWORD)
        settings = {"LLM_MODEL": "openai/scripted", "LLM_API_BASE": model.url, "LLM_API_KEY": "scripted"}
        bot = Daemon(synapse.url, account.user_id, PASSWORD, settings, learned, nursery)
        try:
            await bot.start()
            async with await Person.at(synapse.url, alice_account.user_id, PASSWORD) as alice:
                room = await bot.room_with(alice)
                await alice.ask(room, "SAY hello")
                asked = await alice.say(room, "DELAY 1\nSAY first\n---\nSAY never")
                await asyncio.sleep(0.3)
                os.kill(synapse.pid or 0, signal.SIGKILL)
                await asyncio.sleep(1.5)
                await synapse.start()
                assert (await alice.answer_to(asked)).body == "first"
                assert (await alice.ask(room, "SAY second")).body == "second"
                assert [m.body for m in alice.finals(room)] == ["hello", "first", "second"]
        finally:
            await bot.discard()
            await synapse.stop()


async def test_sigterm_stops_within_five_seconds_and_leaves_the_turn_resumable(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, 'SAY on it\nTOOL run_command {"command": "sleep 60"}\n---\nSAY over')
    await alice.wait(lambda: any("sleep 60" in m.body for m in bot.said(alice, room)), what="the running command")
    assert await bot.term(timeout=5) == 0
    await bot.start()
    assert (await alice.answer_to(asked)).body.startswith("over")
