"""A room that differs: what operators set for it, seen by the room's people and by what runs there."""

from __future__ import annotations

from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_operations import found, typed
from tests.harness import command, notice, run, tool
from tests.person import Person, Shown

DEVCONTAINER = """{
  // as people write it
  "image": "localhost/python:dev", /* of the team */
  "postCreateCommand": "echo of the file > made.txt",
  "forwardPorts": [3000, "db:5432"],
}"""


async def with_operator(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> tuple[MemoryDaemon, Person, str]:
    ann = await person("ann")
    bot = await daemon(model=model, OPERATORS=ann.user_id)
    room = await bot.room_with(ann)
    await notice(bot, ann, room, "Hello")
    return bot, ann, room


async def ran(ann: Person, room: str, script: str) -> str:
    return (await ann.answer_to(await ann.say(room, run(script)))).body.partition("\n[exit")[0]


async def ended(bot: MemoryDaemon, ann: Person, room: str, words: str) -> Shown:
    found = await ann.wait(lambda: next((m for m in bot.said(ann, room) if words in m.body), None), what=words)
    assert found is not None
    return found


async def test_what_is_set_reaches_what_runs_there_and_outlives_a_restart(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    assert await ran(ann, room, "echo [$TEAM]") == "[]"
    assert "made anew" in (await command(bot, ann, room, "!room set env.TEAM blue green")).body
    assert await ran(ann, room, "echo [$TEAM]") == "[blue green]"
    assert "`blue green` already" in (await command(bot, ann, room, "!room set env.TEAM blue green")).body
    await bot.term()
    await bot.start()
    assert await ran(ann, room, "echo [$TEAM]") == "[blue green]"
    assert "blue green" in (await command(bot, ann, room, "!room")).body
    assert "as in all rooms" in (await command(bot, ann, room, "!room unset env.TEAM")).body
    assert await ran(ann, room, "echo [$TEAM]") == "[]"


async def test_jobs_that_end_with_the_container_are_said(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    script = tool("run_command", command="sleep 1000", background=True) + "\n---\nSAY begun"
    await ann.answer_to(await ann.say(room, script))
    assert "1 background job ended" in (await command(bot, ann, room, "!room set memory 1G")).body
    assert "1024" in (await command(bot, ann, room, "!room")).body


async def test_a_command_s_time_is_the_room_s_own(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    said = (await command(bot, ann, room, "!room set timeout 0.2")).body
    assert "made anew" not in said
    assert "timed out after" in await ran(ann, room, "sleep 1000")


async def test_nothing_is_set_that_is_not_right(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    for asked, said in (
        ("memory much", "a number of MiB"),
        ("memory 1", "greater than or equal to 64"),
        ("cpus -1", "greater than or equal to 0.01"),
        ("colour red", "There is no setting 'colour'"),
        ("env.API_KEY 12345", "looks like a secret"),
        ("env.SITE https://me:hunter2@example.org", "looks like a secret"),
        ("env.HOME /", "what the container itself needs"),
        ("env.MÜ 1", "letters, digits and _"),
    ):
        assert said in (await command(bot, ann, room, f"!room set {asked}")).body
    assert "room’s own" not in (await command(bot, ann, room, "!room")).body
    bob = await person("bob")
    await ann.invite(room, bob.user_id)
    await bob.join(room)
    await bob.say(room, "!room set memory 1G")
    await notice(bot, bob, room, "Only an operator")


async def test_the_setup_runs_once_in_each_container_that_is_made(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    await command(bot, ann, room, "!room set setup echo it is $((40 + 2))\necho once >> made.txt")
    assert await ran(ann, room, "cat made.txt") == "once"
    assert "it is 42" in (await ended(bot, ann, room, "This room is set up")).html
    await bot.term()
    await bot.start()
    assert await ran(ann, room, "cat made.txt") == "once"  # the container is the same
    await command(bot, ann, room, "!room set cpus 1")
    assert await ran(ann, room, "cat made.txt") == "once\nonce"


async def test_a_setup_that_fails_says_so_and_the_room_works(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    await command(bot, ann, room, "!room set setup echo no such thing; exit 3")
    assert await ran(ann, room, "echo it works") == "it works"
    shown = await ended(bot, ann, room, "setup failed")
    assert "exit code 3" in shown.body
    assert "no such thing" in shown.html
    assert sum("setup" in one.body for one in bot.said(ann, room) if "now" not in one.body) == 1


async def test_a_setup_that_was_interrupted_is_done_again_in_the_same_message(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    await command(bot, ann, room, "!room set setup echo begun >> made.txt; test -e go || sleep 1000")
    first = await ann.say(room, run("echo never"))
    await ended(bot, ann, room, "setup runs")
    [made] = [*(bot.state / "rooms").glob("*/files/workspace")]
    await ann.wait(lambda: (made / "made.txt").exists(), what="the setup to begin")
    await bot.term()
    (made / "go").touch()
    await bot.start()
    await ann.answer_to(first)
    assert await ran(ann, room, "cat made.txt") == "begun\nbegun"
    await ended(bot, ann, room, "is set up")
    assert not [one for one in bot.said(ann, room) if "setup runs" in one.body]


async def test_a_devcontainer_is_taken_over_when_an_operator_allows_it(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    assert "has no .devcontainer" in (await command(bot, ann, room, "!room devcontainer")).body
    script = tool("write_file", path=".devcontainer/devcontainer.json", content=DEVCONTAINER) + "\n---\nSAY written"
    await ann.answer_to(await ann.say(room, script))
    card = await command(bot, ann, room, "!room devcontainer")
    for words in ("localhost/python:dev", "echo of the file", "3000", "db:5432"):
        assert words in card.body
    await ann.answer_to(await ann.say(room, run("sed -i s/file/else/ .devcontainer/devcontainer.json")))
    await ann.react(room, card.event_id, "✅")
    await notice(bot, ann, room, "something else by now")
    await ann.answer_to(await ann.say(room, run("sed -i s/else/file/ .devcontainer/devcontainer.json")))
    await ann.say(room, "yes")
    await ended(bot, ann, room, "taken over")
    assert await ran(ann, room, "cat made.txt") == "of the file"
    assert "localhost/python:dev" in (await command(bot, ann, room, "!room")).body


async def test_from_the_host_the_room_is_told(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    assert await ran(ann, room, "echo up") == "up"
    await typed(bot, "room", "set", room, "cpus", "1.5")
    assert "made anew" in (await notice(bot, ann, room, "has changed this room")).body
    shown = {one["name"]: one for one in await found(bot, "room", "show", room)}
    assert (shown["cpus"]["value"], shown["cpus"]["of_all"], shown["memory"]["of_all"]) == ("1.5", False, True)


async def test_what_hooks_of_others_leave_in_the_workspace_is_told(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    leave = 'mkdir .ipc && echo \'{"text": "from a hook of others"}\' > .ipc/notification.json && echo left'
    assert await ran(ann, room, leave) == "left"
    await notice(bot, ann, room, "from a hook of others")


async def test_what_tools_are_given_is_shown_to_who_wants_it(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    bot, ann, room = await with_operator(daemon, person, model)
    script = tool("write_file", path="a.txt", content="unusual words") + "\n---\nSAY written"
    diff = (await ann.answer_to(await ann.say(room, script))).html
    assert '"content"' not in diff
    assert "`!verbose off`" in (await command(bot, ann, room, "!verbose on")).body
    assert '"content": "unusual words"' in (await ann.answer_to(await ann.say(room, script))).html
    assert "`!verbose on`" in (await command(bot, ann, room, "!verbose off")).body
    assert '"content"' not in (await ann.answer_to(await ann.say(room, script))).html
