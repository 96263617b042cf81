"""Background jobs tell the conversation that began them when they end."""

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import Bot, tool
from tests.person import Person, Shown


def job(shell: str, **more: object) -> str:
    return tool("run_command", command=shell, background=True, **more)


async def told(bot: Bot, person: Person, room: str, words: str) -> Shown:
    found = await person.wait(
        lambda: next((m for m in bot.said(person, room) if words in m.body and m.msgtype == "m.text"), None),
        what=f"an answer with {words!r}",
    )
    assert found is not None
    return found


async def test_a_job_that_ends_starts_a_turn_where_it_was_begun(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    thread = await alice.say(room, "about this", msgtype="m.notice")
    both = "\n".join((job("sleep 0.8; echo made $((40+2)); exit 3"), job("sleep 0.9; echo other"), "---", "SAY begun"))
    await alice.say(room, both, thread=thread)
    await told(bot, alice, room, "begun")
    answer = await told(bot, alice, room, "made 42")
    assert answer.thread == thread
    assert "Background command 1 ended: exit code 3" in answer.body
    assert "other" in answer.body, "what ends together is told together"
    assert answer.content["m.mentions"]["user_ids"] == [alice.user_id]
    assert len([m for m in bot.said(alice, room) if "Background command" in m.body]) == 1


async def test_who_need_not_be_told_is_not(bot: MemoryDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    quiet = job("sleep 0.6; echo unwatched", wake=False)
    seen = job("sleep 0.6; echo watched") + "\n---\n" + tool("read_background", id="2", wait=20)
    later = job("sleep 1.5; echo later")
    await alice.ask(room, f"{quiet}\n---\n{seen}\n---\n{later}\n---\nSAY begun")
    await told(bot, alice, room, "echo: [Background command 3")
    assert [one.prompt for one in model.asked if "[Background command" in one.prompt][-1].count("[Background") == 1


async def test_a_turn_that_runs_reads_it_before_it_goes_on(
    bot: MemoryDaemon, model: MemoryModel, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    waits = tool("run_command", command="sleep 4")
    answer = await alice.ask(room, f"{job('sleep 0.7; echo now')}\n---\n{waits}\n---\nSAY never read")
    assert "[Background command 1 ended" in answer.body, "the model is asked with it"
    assert len(alice.finals(room)) == 1


async def test_it_is_told_over_a_restart(daemon: MakeDaemon, model: MemoryModel, person: MakePerson) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, f"{job('sleep 1.5; echo over it')}\n---\nSAY begun")
    await bot.term()
    await bot.start()
    assert "exit code 0" in (await told(bot, alice, room, "over it")).body


async def test_each_task_can_begin_a_thread(bot: MemoryDaemon, model: MemoryModel, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "!thread on")
    await told_notice(bot, alice, room, "gets a thread of its own")
    sent = await alice.upload(room, "a.txt", b"x", "text/plain")
    await alice.wait(lambda: bool(alice.reactions(room, sent)), what="📎")
    slow = await alice.say(room, "DELAY 30\nSAY never")
    quick = await alice.say(room, "SAY beside it")
    answer = await told(bot, alice, room, "beside it")
    assert answer.thread == quick
    assert answer.content["m.relates_to"]["is_falling_back"] is True
    live = await alice.wait(lambda: next((m for m in bot.said(alice, room) if m.thread == slow), None))
    assert live is not None
    assert "sent inbox/a.txt" in next(one.prompt for one in reversed(model.asked) if "DELAY 30" in one.prompt)
    await alice.say(room, "!stop all")
    await alice.say(room, "!thread off")
    await told_notice(bot, alice, room, "answered where they are said")
    assert (await alice.ask(room, "SAY here again")).thread is None


async def told_notice(bot: Bot, person: Person, room: str, words: str) -> None:
    await person.wait(lambda: any(words in m.body for m in bot.said(person, room)), what=f"a notice with {words!r}")
