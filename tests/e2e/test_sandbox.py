"""What goes wrong with a container is said plainly in the room, and the room works again without a restart."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from tests.conftest import MakeDaemon
from tests.harness import Daemon, marked_processes, run, tool
from tests.patience import PATIENCE
from tests.person import Person
from tests.sandbox_image import podman
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def test_a_missing_image_is_named_and_found_once_it_is_there(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, image: str
) -> None:
    name = "localhost/roommate:not-there-yet"
    bot, alice = await daemon(model=model, SANDBOX_IMAGE=name), await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, run("echo hello"))
    assert name in answer.body
    assert "build" in answer.body, "it says what to do"
    podman("tag", image, name)
    try:
        assert "hello" in (await alice.ask(room, run("echo hello"))).body
    finally:
        podman("untag", image, name)


async def test_output_is_seen_as_it_comes(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("true"))
    asked = await alice.say(room, run("for i in 1 2 3; do echo number-$i; sleep 0.7; done"))
    for first in (1, 2):
        await alice.wait(
            lambda first=first: any(  # type: ignore[misc]
                f"number-{first}" in m.body and "number-3" not in m.body for m in bot.said(alice, room)
            ),
            what=f"line {first} while the command runs",
        )
    assert "number-3" in (await alice.answer_to(asked)).body


async def test_the_shell_stays_from_turn_to_turn(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)

    def shell(**arguments: object) -> str:
        return tool("shell", **arguments) + "\n---\nECHO"

    answer = await alice.ask(room, shell(command="mkdir -p a; cd a; export A=kept; tty; stty size"))
    assert "/dev/pts/" in answer.body
    assert "50 160" in answer.body
    assert "this is a new shell" in answer.body
    answer = await alice.ask(room, shell(command="pwd; echo $A"))
    assert "/workspace/a\nkept" in answer.body
    assert "new shell" not in answer.body
    await alice.say(room, shell(command="echo be''gun; cat; echo not this"))
    await alice.wait(lambda: any("begun" in m.body for m in bot.said(alice, room)), what="what the shell prints")
    await alice.say(room, "!stop")
    await alice.wait(lambda: any("Stopped by" in m.body for m in bot.said(alice, room)), what="the end of the turn")
    answer = await alice.ask(room, shell(command="echo $A"))
    assert "kept" in answer.body, "what ran in it was interrupted, and it was not"
    podman("kill", bot.container_of(room))
    assert "this is a new shell" in (await alice.ask(room, shell(command="echo $A"))).body


async def test_a_killed_container_is_back_with_its_files(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("echo kept > kept.txt"))
    asked = await alice.say(room, run("sleep 60"))
    await alice.wait(lambda: any("sleep 60" in m.body for m in bot.said(alice, room)), what="the command")
    podman("kill", "--signal", "KILL", bot.container_of(room))
    lost = await alice.answer_to(asked)
    assert "container" in lost.body, lost.body
    assert "kept" in (await alice.ask(room, run("cat kept.txt"))).body


async def test_podmans_service_may_die(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    assert "one" in (await alice.ask(room, run("echo one"))).body
    for pid, command in marked_processes(bot.mark).items():
        if "system service" in command:
            os.kill(pid, signal.SIGKILL)
    assert "two" in (await alice.ask(room, run("echo two"))).body
    other = await bot.room_with(alice)
    assert "three" in (await alice.ask(other, run("echo three"))).body


async def test_a_hog_and_a_fork_bomb_hurt_their_own_room_only(
    bot: Daemon, person: MakePerson, daemon: MakeDaemon, model: ScriptedModel
) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    small = await daemon(model=model, SANDBOX_MEMORY_MB="128", SANDBOX_PIDS="64")
    mine, hostile = await small.room_with(alice), await small.room_with(mallory)
    await alice.ask(mine, run("echo warm"))
    hog = tool("run_command", command="python3 -c 'x = bytearray(1 << 30); x[::4096] = b\"1\" * (1 << 18)'", timeout=20)
    bomb = tool("run_command", command="f() { f | f & }; f; sleep 3", timeout=5)
    attack = asyncio.create_task(mallory.ask(hostile, f"{hog}\n---\nECHO"))
    for number in range(5):
        assert f"fine {number}" in (await alice.ask(mine, run(f"echo fine {number}"))).body
    assert "exit 0" not in (await attack).body
    attack = asyncio.create_task(mallory.ask(hostile, f"{bomb}\n---\nECHO"))
    for number in range(5):
        assert f"fine {number}" in (await alice.ask(mine, run(f"echo fine {number}"))).body
    await attack
    again = await mallory.ask(hostile, run("echo again; ps -e | wc -l"))
    assert "again\n" in again.body


async def test_a_full_workspace_is_said_and_can_be_emptied(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, WORKSPACE_QUOTA_MB="48"), await person("alice")
    room = await bot.room_with(alice)
    full = await alice.ask(room, run("head -c 200000000 /dev/zero > big"))
    assert "No space left" in full.body
    write = tool("write_file", path="small.txt", content="x" * 10_000) + "\n---\nECHO"
    assert "space" in (await alice.ask(room, write)).body
    assert "emptied" in (await alice.ask(room, run("rm big; echo emptied > note; cat note"))).body


async def test_a_restart_finds_the_container_and_its_background_job(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    job = tool("run_command", command="for i in $(seq 600); do echo tick $i; sleep 0.1; done", background=True)
    await alice.ask(room, f"{job}\n---\nECHO")
    [before] = bot.containers()
    await bot.kill9()
    await bot.start()
    assert "seq 600" in (await alice.ask(room, run("ps -ef"))).body
    assert bot.containers() == [before]


async def test_an_idle_container_is_stopped_and_comes_back(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, IDLE_STOP_SECONDS="1"), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("echo kept > kept.txt"))
    async with asyncio.timeout(PATIENCE):
        while podman("ps", "-q", "--filter", f"label=io.roommate.state={bot.state}"):
            await asyncio.sleep(0.1)
    assert "kept" in (await alice.ask(room, run("cat kept.txt"))).body
