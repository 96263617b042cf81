"""Programs that are talked to while they run, over a real hand on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator

import pytest

from roommate.domain import Exit
from roommate.errors import HandLost, ToolError
from roommate.sandbox.inside.frames import WINDOW
from roommate.sandbox.inside.run_command_call import TERMINALS
from tests.live_hand import LiveHand, live_hand
from tests.patience import until


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[LiveHand]:
    async with live_hand() as live:
        yield live


class Talk:
    """`see` waits for words, `ended` for its end."""

    def __init__(self, hand: LiveHand, command: str | list[str], **more: object) -> None:
        self.printed = bytearray()
        self.session = hand.host.session(command, **more)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.session.finish(self.printed.extend))

    async def see(self, words: str) -> None:
        await until(lambda: re.search(words.encode(), self.printed) or self.task.done(), words)
        assert re.search(words.encode(), self.printed), bytes(self.printed)

    async def ended(self) -> Exit:
        return await self.task


async def test_a_terminal_has_a_size_and_tells_of_a_new_one(shared: LiveHand) -> None:
    command = "trap 'stty size' WINCH; tty; stty size; echo begun; while read line; do echo got $line; done"
    talk = Talk(shared, command, terminal=(30, 90), env={"TERM": "xterm-256color"})
    await talk.see(r"/dev/pts/\d+\r\n30 90\r\nbegun")
    await talk.session.resize(40, 120)
    await talk.session.write(b"one\n")
    await talk.see("40 120")
    await talk.see("got one\r\n")
    await talk.session.write(b"\x04")
    assert (await talk.ended()).code == 0


async def test_somebody_sits_at_a_terminal_and_nobody_at_a_command(shared: LiveHand) -> None:
    talk = Talk(shared, "env", terminal=(30, 90), env={"TERM": "xterm-256color"})
    assert (await talk.ended()).code == 0
    lines = talk.printed.decode().splitlines()
    assert "TERM=xterm-256color" in lines
    assert not [line for line in lines if line.startswith(("PAGER=", "GIT_TERMINAL_PROMPT="))]
    assert [line for line in lines if line.startswith("PATH=")]
    talk = Talk(shared, "env")
    await talk.ended()
    assert b"GIT_TERMINAL_PROMPT=0" in talk.printed


async def test_an_environment_alone_is_all_there_is(shared: LiveHand) -> None:
    printed = bytearray()
    await shared.host.run(["env"], env={"A": "1"}, alone=True, on_output=printed.extend)
    names = {line.partition("=")[0] for line in printed.decode().splitlines()}
    assert names == {"A", "ROOMMATE_CALL"}
    talk = Talk(shared, ["env"], env={"A": "1"}, alone=True)
    await talk.ended()
    assert b"PATH=" not in talk.printed


@pytest.mark.parametrize("how", ["typed", "signalled", "without a terminal"])
async def test_one_program_is_interrupted_and_the_rest_goes_on(shared: LiveHand, how: str) -> None:
    terminal = None if how == "without a terminal" else (30, 90)
    # The program says itself that it has begun: a shell forgets an interrupt on its way to become another program.
    command = "trap 'echo caught' INT; echo begun >begun; tail -f begun; echo after"
    talk = Talk(shared, command, terminal=terminal)
    await talk.see("begun")
    if how == "typed":
        await talk.session.write(b"\x03")
    else:
        await talk.session.signal(signal.SIGINT)
    await talk.see("caught\r?\nafter")
    assert (await talk.ended()).code == 0


async def test_input_goes_on_while_it_runs_and_is_held_back(shared: LiveHand) -> None:
    talk = Talk(shared, "echo begun; while [ ! -e go ]; do sleep 0.01; done; wc -c")
    await talk.see("begun")
    much = asyncio.create_task(talk.session.write(b"x" * 8 * WINDOW))
    await talk.session.resize(1, 1)  # without a terminal that is nothing, and a sign that all before was read
    assert not much.done()
    (shared.workspace / "go").touch()
    await much
    talk.session.end()
    assert (await talk.ended()).code == 0
    assert str(8 * WINDOW).encode() in talk.printed
    await talk.session.write(b"nobody reads this any more")
    await talk.session.signal(signal.SIGINT)


async def test_errors_come_apart_where_that_is_asked_for(shared: LiveHand) -> None:
    out, err = bytearray(), bytearray()
    command = "echo out; echo err >&2; seq 100000; seq 200000 >&2; (sleep 0.1; echo late >&2) & exit 3"
    ended = await shared.host.run(command, on_output=out.extend, on_errors=err.extend, spill_after=1000)
    assert ended.code == 3
    assert out.decode().splitlines() == ["out", *(str(n) for n in range(1, 100_001))]
    assert err.decode().splitlines() == ["err", *(str(n) for n in range(1, 200_001)), "late"]
    assert ended.spilled
    assert len((shared.workspace / ended.spilled).read_bytes()) == len(out) + len(err)
    session = shared.host.session("cat; echo err >&2", apart=True)
    out.clear()
    err.clear()
    await session.write(b"in")
    session.end()
    assert (await session.finish(out.extend, err.extend)).code == 0
    assert (bytes(out), bytes(err)) == (b"in", b"err\n")
    assert (await shared.host.run("echo out; echo err >&2", on_output=out.extend)).code == 0
    assert out == b"inout\nerr\n"


async def test_a_reader_that_is_slow_holds_back_its_own_program_alone(shared: LiveHand) -> None:
    read = asyncio.Event()
    count = 0

    async def take(piece: bytes) -> None:
        nonlocal count
        count += len(piece)
        await read.wait()

    session = shared.host.session("yes", terminal=(30, 90))
    task = asyncio.create_task(session.finish(take))
    await until(lambda: count)
    assert (await shared.host.run("seq 100000", spill_after=1)).code == 0
    assert count <= WINDOW
    await session.signal(signal.SIGINT)
    read.set()
    assert (await task).signal == signal.SIGINT


async def test_who_leaves_hangs_up(shared: LiveHand) -> None:
    (shared.workspace / "heard").unlink(missing_ok=True)
    talk = Talk(shared, "trap 'echo hup >heard; exit' HUP; echo begun; while :; do sleep 0.05; done", terminal=(30, 90))
    await talk.see("begun")
    talk.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await talk.task
    await until(lambda: shared.left() == [])
    assert (shared.workspace / "heard").read_text() == "hup\n"


async def test_terminals_are_counted(shared: LiveHand) -> None:
    talks = [Talk(shared, "echo begun; cat", terminal=(30, 90)) for _ in range(TERMINALS)]
    for talk in talks:
        await talk.see("begun")
    with pytest.raises(ToolError, match="terminals are open in this room already"):
        await Talk(shared, "true", terminal=(30, 90)).ended()
    for talk in talks:
        await talk.session.write(b"\x04")
        assert (await talk.ended()).code == 0
    with pytest.raises(ToolError, match="nowhere: no such file"):
        await Talk(shared, "true", terminal=(30, 90), cwd="nowhere").ended()
    assert (await Talk(shared, "true", terminal=(30, 90)).ended()).code == 0


async def test_the_end_of_the_hand_ends_it() -> None:
    async with live_hand() as hand:
        talk = Talk(hand, "echo begun; cat", terminal=(30, 90))
        await talk.see("begun")
        much = asyncio.create_task(talk.session.write(b"\n" * 8 * WINDOW))
        await hand.kill()
        with pytest.raises(HandLost):
            await talk.ended()
        await much
        await until(lambda: hand.left() == [])
