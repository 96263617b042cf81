"""Threads are conversations that run side by side: none waits for another, is stopped with it or lost with it."""

from __future__ import annotations

from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.test_hooks import hook
from tests.fast.test_threads import final, finals, root, waits, works
from tests.harness import Daemon, run, tool
from tests.person import Shown
from tests.scripted_model import ScriptedModel


async def test_what_hooks_say_is_seen_in_the_thread_whose_turn_started_them(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    thread = await root(alice, room)
    push = hook("gemini", "before-tool", {"tool_name": "run_shell_command", "tool_input": {"command": "git push"}})
    await alice.say(room, run(f"until [ -e go ]; do sleep 0.05; done; {push}; echo it was asked"), thread=thread)
    await alice.say(room, "SAY the newer one\nDELAY 100\nSAY never")
    await works(bot, alice, room, "the newer one")
    await alice.say(room, run("touch go"), thread=await root(alice, room))
    await alice.wait(lambda: any("io.roommate.card" in m.content for m in bot.said(alice, room)), what="a card")
    [card] = [m for m in bot.said(alice, room) if "io.roommate.card" in m.content]
    assert card.thread == thread
    await alice.react(room, card.event_id, "✅")
    answer = await final(alice, room, thread)
    assert "it was asked" in answer.body
    assert "gemini" in answer.html, "its call is among the steps"
    await alice.say(room, "!stop")
    assert "gemini" not in (await final(alice, room, None)).html


async def test_all_turns_that_a_kill_left_go_on_each_in_its_own_message(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    thread = await root(alice, room)
    begun: dict[str | None, Shown] = {}
    for place, name in ((None, "main"), (thread, "side")):
        shell = f"echo {name} >> trace.txt; echo {name} r''uns; until [ -e go ]; do sleep 0.05; done"
        await alice.say(room, f"{tool('run_command', command=shell)}\n---\n{run('cat trace.txt')}", thread=place)
        begun[place] = await works(bot, alice, room, f"{name} runs")
    waiting = {place: await alice.say(room, "SAY after that", thread=place) for place in begun}
    for event in waiting.values():
        await waits(bot, alice, room, event)
    await bot.kill9()
    await bot.start()
    for place, live in begun.items():
        answer = await final(alice, room, place)
        assert answer.event_id == live.event_id, "the same message goes on"
        assert sorted(answer.body.split()[:2]) == ["main", "side"], "each command ran once"
        assert "unknown: the daemon restarted while this ran" in answer.html
        assert (await final(alice, room, place, 2)).body == "after that"

    for place in begun:
        await alice.say(room, "SAY on it once more\nDELAY 100\nSAY never", thread=place)
    await alice.wait(lambda: sum("on it once more" in m.body for m in bot.said(alice, room)) == 2, what="both turns")
    (bot.state / "PAUSE").touch()
    await bot.kill9()
    await bot.start()
    await alice.say(room, "!stop", thread=thread)
    assert "Stopped by" in (await final(alice, room, thread, 3)).body, "what is held can be stopped"
    assert len(finals(alice, room, None)) == 2, "and the other is held"
    await alice.say(room, "!stop all")
    assert "Stopped by" in (await final(alice, room, None, 3)).body
