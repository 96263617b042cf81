"""What the daemon counts on in a room's sandbox: commands, files, jobs, the shell, and the life of its container."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roommate.domain import Exit, RoomId
from roommate.errors import HandLost, ToolError
from roommate.sandbox.container_spec import STATE, Limits
from roommate.sandbox.hand import HandHost
from roommate.sandbox.room_containers import RoomSandboxes
from tests.fakes.containers import Processes, ProcessSandboxes
from tests.patience import OF_DAEMONS, PATIENCE, until
from tests.sandbox.conftest import host_memory, lodge

__all__ = ["host_memory", "lodge"]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def processes() -> AsyncIterator[RoomSandboxes]:
    place, engine = Path(tempfile.mkdtemp(prefix="rp-")), Processes()
    sandboxes = ProcessSandboxes(
        engine,
        state=place / "state",
        run=place / "run",
        image="none",
        daemon="@bot:example.org",
        limits=Limits(),
        idle_seconds=600,
        patience=OF_DAEMONS,
    )
    yield sandboxes
    await sandboxes.close()
    await engine.end()
    shutil.rmtree(place)


@pytest.fixture
def podman(lodge: RoomSandboxes) -> RoomSandboxes:
    return lodge


@pytest.fixture(params=["processes", pytest.param("podman", marks=pytest.mark.slow)])
def sandboxes(request: pytest.FixtureRequest) -> RoomSandboxes:
    """Of processes of this machine, and of containers."""
    found: RoomSandboxes = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def room(sandboxes: RoomSandboxes) -> AsyncIterator[RoomId]:
    """A room of the test's own."""
    one = RoomId(f"!contract{next(_numbers)}:example.org")
    yield one
    await sandboxes.reset_workspace(one)


@pytest.fixture
async def hand(sandboxes: RoomSandboxes, room: RoomId) -> HandHost:
    return await sandboxes.hand(room)


async def sh(hand: HandHost, command: str, timeout: float = PATIENCE) -> tuple[str, Exit]:
    printed = bytearray()
    ended = await hand.run(command, timeout=timeout, on_output=printed.extend)
    return printed.decode(), ended


async def test_commands(hand: HandHost) -> None:
    printed, ended = await sh(hand, "echo one; echo two >&2; exit 7")
    assert (printed, ended.code, ended.signal, ended.timed_out) == ("one\ntwo\n", 7, None, False)
    assert (await sh(hand, "kill -9 $$"))[1].signal == 9
    printed, _ = await sh(hand, "mkdir -p below; cd below; pwd | grep -o '[^/]*/below$'; echo $HOME | grep -c .")
    assert printed == "workspace/below\n1\n"
    out = bytearray()
    await hand.run(["cat"], stdin=b"\0\xff given", on_output=out.extend, cwd="below", env={"X": "y"})
    assert out == b"\0\xff given"
    out.clear()
    await hand.run("echo $X; pwd | grep -o '[^/]*$'", on_output=out.extend, cwd="/workspace/below", env={"X": "y"})
    assert out == b"y\nbelow\n"
    with pytest.raises(ToolError):
        await hand.run(["no-such-program"])


async def test_what_runs_too_long_ends_with_all_that_it_started(hand: HandHost) -> None:
    patience = 0.25
    while not await _there(hand, "beat"):  # on a busy machine it may not have begun by then
        patience *= 2
        _, ended = await sh(hand, "(while :; do date +%N > beat; sleep 0.05; done) & sleep 1000", timeout=patience)
        assert ended.timed_out
    still = (await hand.read("beat")).content
    await asyncio.sleep(0.3)
    assert (await hand.read("beat")).content == still
    call = asyncio.create_task(sh(hand, "touch begun; sleep 1000; touch ended"))
    await until(lambda: _there(hand, "begun"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await sh(hand, "echo well"))[0] == "well\n"


async def _there(hand: HandHost, path: str) -> bool:
    try:
        await hand.read(path)
    except ToolError:
        return False
    return True


async def test_many_calls_at_once(hand: HandHost) -> None:
    # Each waits for a file that another one writes: one after the other they would never end.
    calls = [
        sh(hand, f"touch {me}; while [ ! -e {other} ]; do sleep 0.02; done; echo {me}", timeout=PATIENCE)
        for me, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    assert [printed for printed, _ in await asyncio.gather(*calls)] == ["a\n", "b\n", "c\n"]


async def test_long_output_is_spilled(hand: HandHost) -> None:
    ended = await hand.run("yes | head -c 300000", spill_after=1000, timeout=PATIENCE)
    assert ended.spilled is not None
    assert (await hand.read(ended.spilled)).size == 300_000


async def test_files(hand: HandHost) -> None:
    await hand.write("a/b/c.txt", b"0123456789")
    await hand.write("/workspace/top.txt", b"\0\xff")
    part = await hand.read("a/b/c.txt", offset=3, limit=4)
    assert (part.content, part.size) == (b"3456", 10)
    assert (await hand.read("top.txt")).content == b"\0\xff"
    entries, count = await hand.list(".", "**/*.txt")
    assert [(one.path, one.kind, one.size) for one in entries] == [("a/b/c.txt", "file", 10), ("top.txt", "file", 2)]
    assert count == 2
    assert [(one.path, one.kind) for one in (await hand.list("a"))[0]] == [("b", "dir")]
    assert (await sh(hand, "cat a/b/c.txt"))[0] == "0123456789"
    refused: list[Callable[[], object]] = [
        lambda: hand.read("no/such/file"),
        lambda: hand.read("a"),
        lambda: hand.list("top.txt"),
        lambda: hand.write("a", b""),
    ]
    for each in refused:
        with pytest.raises(ToolError):
            await each()  # type: ignore[misc]


async def test_jobs_go_on_between_calls(hand: HandHost) -> None:
    job = await hand.start_job("echo begun; sleep 1000")
    assert job.exit is None
    await until(lambda: _begun(hand, job.log))
    assert [one.id for one in await hand.jobs()] == [job.id]
    ended = await hand.stop_job(job.id)
    assert ended.exit is not None
    assert ended.exit.signal == 15
    short = await hand.start_job("exit 3")
    await until(lambda: _ended(hand, short.id))
    assert (await hand.job(short.id)).exit.code == 3  # type: ignore[union-attr]
    with pytest.raises(ToolError):
        await hand.stop_job("nope")


async def _begun(hand: HandHost, log: str) -> bool:
    return (await hand.read(log)).content == b"begun\n"


async def _ended(hand: HandHost, job: str) -> bool:
    return (await hand.job(job)).exit is not None


async def test_one_shell_stays(hand: HandHost) -> None:
    assert (await hand.shell("mkdir -p here; cd here; X=kept", timeout=PATIENCE)).code == 0
    out = bytearray()
    await hand.shell('echo "$X in ${PWD##*/}"', timeout=PATIENCE, on_output=out.extend)
    assert out.strip() == b"kept in here"
    assert (await hand.shell("sleep 1000", timeout=0.1)).running
    assert (await hand.shell(interrupt=True, timeout=PATIENCE)).code == 130
    assert (await hand.shell(end=True, timeout=PATIENCE)).end is not None


async def test_a_container_stops_and_comes_back_with_its_files(sandboxes: RoomSandboxes, room: RoomId) -> None:
    assert not sandboxes.has_files(room)
    assert "none yet" in await sandboxes.describe(room)
    hand = await sandboxes.hand(room)
    assert sandboxes.up(room)
    assert "running" in await sandboxes.describe(room)
    await hand.write("kept.txt", b"kept")
    job = await hand.start_job("sleep 1000")
    await sandboxes.stop(room)
    assert not sandboxes.up(room)
    assert "exited" in await sandboxes.describe(room)
    hand = await sandboxes.hand(room)
    assert (await hand.read("kept.txt")).content == b"kept"
    assert (await hand.job(job.id)).exit is not None, "what ran in it has ended"
    assert (await sandboxes.disk(room))[0] > 0

    await sandboxes.leave(room)
    assert sandboxes.has_files(room)
    assert (await (await sandboxes.hand(room)).read("kept.txt")).content == b"kept"
    await sandboxes.reset_workspace(room)
    assert not sandboxes.has_files(room)
    with pytest.raises(ToolError):
        await (await sandboxes.hand(room)).read("kept.txt")


async def test_a_call_whose_container_ends_is_lost_and_the_next_is_good(
    sandboxes: RoomSandboxes, room: RoomId, hand: HandHost
) -> None:
    call = asyncio.create_task(sh(hand, "touch begun; sleep 1000"))
    await until(lambda: _there(hand, "begun"))
    await sandboxes.stop(room)
    with pytest.raises(HandLost):
        await call
    assert (await sh(await sandboxes.hand(room), "ls"))[0] == "begun\n"


async def test_a_fresh_one_has_nothing_of_the_room_and_is_gone_afterwards(
    sandboxes: RoomSandboxes, room: RoomId, hand: HandHost
) -> None:
    await hand.write("of-the-room", b"secret")

    def left() -> list[Path]:
        return [*_state(sandboxes).glob("rooms/fresh-*"), *_run(sandboxes).glob("fresh-*")]

    async with sandboxes.fresh(room) as one, sandboxes.fresh(room) as other:
        assert (await sh(one, "ls -A; touch made; ls"))[0] == "made\n"
        assert (await sh(other, "ls -A"))[0] == ""
        assert len(left()) == 4
    assert not left()
    assert (await hand.list("."))[1] == 1

    began = asyncio.Event()

    async def work() -> None:
        async with sandboxes.fresh(room):
            began.set()
            await asyncio.sleep(1000)

    working = asyncio.create_task(work())
    await began.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert not left()
    await sandboxes.reconcile([room])
    assert (await sh(await sandboxes.hand(room), "ls"))[0] == "of-the-room\n"


async def test_what_a_killed_daemon_left_of_a_fresh_one_goes_with_the_next_start(
    sandboxes: RoomSandboxes, room: RoomId
) -> None:
    async with sandboxes.fresh(room):
        sandboxes._fresh.clear()  # as one that has just started knows of none
        await sandboxes.reconcile([room])
        assert not list(_state(sandboxes).glob("rooms/fresh-*"))
        engine = (await sandboxes._foundation.ground()).engine
        assert not [one for one in await engine.list(STATE, str(_state(sandboxes))) if "fresh" in one.name]


def _state(sandboxes: RoomSandboxes) -> Path:
    return sandboxes._plan.state


def _run(sandboxes: RoomSandboxes) -> Path:
    return sandboxes._plan.run


async def test_rooms_have_files_of_their_own_and_can_hand_them_over(
    sandboxes: RoomSandboxes, room: RoomId, hand: HandHost
) -> None:
    await hand.write("mine.txt", b"mine")
    other = RoomId(f"!contract{next(_numbers)}:example.org")
    try:
        with pytest.raises(ToolError):
            await (await sandboxes.hand(other)).read("mine.txt")
        assert await sandboxes.move(room, other) is False, "it has files of its own"
        await sandboxes.reset_workspace(other)
        assert await sandboxes.move(room, other)
        assert (await (await sandboxes.hand(other)).read("mine.txt")).content == b"mine"
        assert not sandboxes.has_files(room)
    finally:
        await sandboxes.reset_workspace(other)
