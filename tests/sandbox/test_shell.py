"""The room's shell, over a real hand on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.domain import ShellLook
from roommate.errors import HandLost, ToolError
from roommate.sandbox.inside.shell import KEPT
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE, until

SOON = 0.2
"""Seconds after which these tests look away from what does not end."""


class At:
    """`ask` is one call of the shell: what it printed, and how the shell was then."""

    def __init__(self, hand: LiveHand) -> None:
        self.hand = hand

    async def ask(
        self, command: str | None = None, *, timeout: float = PATIENCE, spill_after: int | None = None, **more: object
    ) -> tuple[str, ShellLook]:
        printed = bytearray()
        look = await self.hand.host.shell(
            command,
            timeout=timeout,
            on_output=printed.extend,
            spill_after=spill_after,
            **more,  # type: ignore[arg-type]
        )
        return printed.decode(), look

    async def leave(self, command: str, words: str) -> None:
        """Ask for what does not end, and look until it has printed these words."""
        text, look = await self.ask(command, timeout=SOON)
        async with asyncio.timeout(PATIENCE):
            while words not in text:
                assert look.running, text
                more_text, look = await self.ask(timeout=SOON)
                text += more_text


async def next_prompt(at: At) -> tuple[str, ShellLook]:
    """Ask the shell what A is, as soon as it is at its prompt, or there is a new one."""
    looks: list[tuple[str, ShellLook]] = []

    async def free() -> bool:
        with contextlib.suppress(ToolError):  # a call that was given up is at it still
            looks.append(await at.ask("echo ${A-gone}"))
        return bool(looks)

    await until(free, "the shell's prompt, or a new one")
    return looks[0]


@pytest.fixture
async def at() -> AsyncIterator[At]:
    async with live_hand() as hand:
        yield At(hand)


async def test_what_is_set_stays(at: At) -> None:
    (at.hand.workspace / "sub").mkdir()
    text, first = await at.ask("cd sub; export A=one; f() { echo f of $A; }; false")
    assert (text, first.code, first.fresh, first.cwd) == ("", 1, True, str(at.hand.workspace / "sub"))
    text, second = await at.ask("pwd; f; alias g='echo alias'")
    assert (text, second.code, second.fresh) == (f"{at.hand.workspace}/sub\nf of one\n", 0, False)
    assert (await at.ask("g; tty | grep -c /dev/pts/; stty size"))[0] == "alias\n1\n50 160\n"
    (at.hand.workspace / "activate").write_text('PATH="$PWD/bin:$PATH"; PS1="(venv) $PS1"; export PATH PS1')
    (at.hand.workspace / "sub" / "bin").mkdir()
    program = at.hand.workspace / "sub" / "bin" / "of-the-environment"
    program.write_text("#!/bin/sh\necho activated\n")
    program.chmod(0o755)
    await at.ask(". ../activate")
    assert (await at.ask("of-the-environment"))[0] == "activated\n", "and no prompt"


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("for i in 1 2", "bash: syntax error: unexpected end of file\n", 2),
        ("echo 'it''s' \"a  b\" !! $((1+1)) \\\\", "its a  b !! 2 \\\n", 0),
        ("cat <<X\nhere\n  'quoted'\nX", "here\n  'quoted'\n", 0),
        ("# nothing", "", 0),
        ("printf 'no end of line'", "no end of line", 0),
        ("echo out; echo err >&2", "out\nerr\n", 0),
        ("kill -KILL $BASHPID & wait $!", None, 137),
        ("f() {\n  return 4\n}\nf", "", 4),
        ("ä=1; echo ä ☃", None, 0),
        (f"echo {'x' * 100_000} | wc -c", "100001\n", 0),
        ("printf '\\033]roommate-;1;0\\007\\033]roommate'", "\033]roommate-;1;0\007\033]roommate", 0),
    ],
)
async def test_any_command_comes_to_its_end(at: At, command: str, text: str | None, code: int) -> None:
    printed, look = await at.ask(command)
    assert look.code == code, printed
    assert text is None or printed == text
    assert (await at.ask("echo next"))[0].endswith("next\n")


async def test_what_does_not_come_back_can_be_gone_on_with(at: At) -> None:
    await at.leave("echo begun; while [ ! -e go ]; do sleep 0.01; done; echo done; (exit 5)", "begun\n")
    look = (await at.ask(timeout=0.01))[1]
    assert (look.code, look.end) == (None, None)
    assert look.running.startswith("echo begun; while")
    with pytest.raises(ToolError, match="still runs: echo begun"):
        await at.ask("echo another")
    (at.hand.workspace / "go").touch()
    text, look = await at.ask()
    assert (text, look.code, look.running) == ("done\n", 5, "")


@pytest.mark.parametrize(
    "command", ["sleep 1000", "while :; do sleep 1000; done", "while :; do :; done", "cat", "yes >/dev/null"]
)
async def test_it_can_be_interrupted_and_its_state_stays(at: At, command: str) -> None:
    await at.ask("A=kept")
    await at.leave(f"echo begun; {command}; echo not this", "begun\n")
    text, look = await at.ask(interrupt=True)
    assert (text.strip(), look.code) == ("", 130)
    assert (await at.ask("echo $A"))[0] == "kept\n"


async def test_it_can_be_written_to(at: At) -> None:
    await at.leave("read -p 'name? ' name", "name? ")
    assert (await at.ask(typed="ann\n"))[1].code == 0
    await at.leave("echo is $name; cat", "is ann\n")
    text, look = await at.ask(typed="echo $name\n")
    assert (text, look.running) == ("echo $name\n", "echo is $name; cat"), (
        "as soon as it is answered, and to nobody else"
    )
    assert (await at.ask(typed="\u0004"))[1].code == 0
    with pytest.raises(ToolError, match="at its prompt"):
        await at.ask(typed="rm -rf x\n")
    assert (await at.ask("echo here"))[0] == "here\n"


async def test_the_end_of_the_shell_is_said_and_the_next_is_new(at: At) -> None:
    text, look = await at.ask("A=1; echo bye; exit 3")
    assert (text.splitlines()[0], look.code) == ("bye", None)
    assert look.end
    assert look.end.code == 3
    with pytest.raises(ToolError, match="there is no shell now"):
        await at.ask()
    text, look = await at.ask("echo ${A-gone}")
    assert (text, look.fresh) == ("gone\n", True)
    await at.leave("sleep 1000 & trap '' INT HUP TERM; echo begun; while :; do :; done", "begun\n")
    assert (await at.ask(interrupt=True, timeout=SOON))[1].running, "it does not care"
    assert (await at.ask(end=True))[1].end
    assert at.hand.left() == []
    assert (await at.ask("set -e; true; false"))[1].end
    await at.leave("echo begun; until [ -e go ]; do sleep 0.01; done; exit 4", "begun\n")
    (at.hand.workspace / "go").touch()
    await until(lambda: at.hand.left() == [])
    look = (await at.ask())[1]
    assert look.end
    assert look.end.code == 4, "nobody looked when it ended"


async def test_much_output_is_whole_in_a_file(at: At) -> None:
    text, look = await at.ask("seq 100000", spill_after=1000)
    assert text == "".join(f"{n}\n" for n in range(1, 100_001))
    assert look.spilled
    assert (at.hand.workspace / look.spilled).read_text() == text
    assert (await at.ask("seq 3", spill_after=1000))[1].spilled is None


async def test_who_prints_while_nobody_looks_has_to_wait(at: At) -> None:
    before = _memory(at.hand.pid)
    written_down = at.hand.workspace / "pid"
    await at.leave("sh -c 'echo $$ >pid; exec yes' & wait", "y\n")
    await until(lambda: written_down.exists() and written_down.read_text().strip(), "the pid")
    pid = int(written_down.read_text())

    async def written() -> int:
        return int(Path(f"/proc/{pid}/io").read_text().split()[3])

    async def still() -> bool:
        one = await written()
        await asyncio.sleep(0.3)
        return await written() == one

    await until(still, "a `yes` that is held back")
    assert _memory(at.hand.pid) - before < 16 * KEPT
    text, look = await at.ask(timeout=SOON)
    assert len(text) >= KEPT
    assert look.running, "and it goes on as soon as somebody looks"
    assert (await at.ask(end=True))[1].end


async def test_what_the_background_prints_is_shown_with_the_next_look(at: At) -> None:
    text, look = await at.ask("(while [ ! -e go ]; do sleep 0.01; done; echo late; touch gone) & echo now")
    assert (text.partition("\n")[2], look.code) == ("now\n", 0)
    (at.hand.workspace / "go").touch()
    await until((at.hand.workspace / "gone").exists)
    assert "late\n" in (await at.ask("echo next"))[0]


async def test_two_do_not_look_at_once(at: At) -> None:
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(at.ask("while [ ! -e go ]; do sleep 0.01; done"))
        await until(lambda: at.hand.left() != [])
        with pytest.raises(ToolError, match="another call is at the room's shell"):
            await at.ask("echo hello")
        (at.hand.workspace / "go").touch()
    assert looking.result()[1].code == 0


@pytest.mark.parametrize("stubborn", [False, True])
async def test_who_is_cancelled_leaves_nothing_running(at: At, stubborn: bool) -> None:
    await at.ask("A=kept")
    command = "trap '' INT; " * stubborn + "touch begun; sleep 1000; while :; do sleep 1000; done"
    looking = asyncio.create_task(at.ask(command))
    await until((at.hand.workspace / "begun").exists)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    await until(lambda: len(at.hand.left()) <= (not stubborn))

    text, look = await next_prompt(at)
    assert (text.strip(), look.fresh) == (("gone", True) if stubborn else ("kept", False))


async def test_an_interrupt_waits_until_the_command_is_read(at: At) -> None:
    """Half of one is none: the shell would drop what it has read of it, and run the rest."""
    await at.ask("A=kept")
    looking = asyncio.create_task(at.ask(f": {'x' * 120_000}\ntouch half"))
    await asyncio.sleep(0.01)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    text, look = await next_prompt(at)
    assert (text.strip(), look.fresh) == ("kept", False)


async def test_an_interrupt_hits_what_it_is_for_or_nothing(at: At) -> None:
    """Whenever it comes: before the command begins, while it ends, behind it."""
    await at.ask("A=kept")
    for late in range(40):
        looking = asyncio.create_task(at.ask("sleep 0.003"))
        await asyncio.sleep(late / 2000)
        with contextlib.suppress(ToolError):  # the other call is at it still
            await at.ask(interrupt=True, timeout=0.01)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        text, look = await next_prompt(at)
        assert (text.strip(), look.fresh) == ("kept", False), late


async def test_it_ends_with_the_daemon_and_the_next_one_is_told(at: At) -> None:
    await at.leave("A=1; (trap '' HUP TERM; sleep 1000) & echo begun; sleep 1000", "begun\n")
    await at.hand.restart_host()
    await until(lambda: at.hand.left() == [])
    with pytest.raises(ToolError, match="there is no shell now"):
        await at.ask()
    text, look = await at.ask("echo ${A-gone}")
    assert (text, look.fresh) == ("gone\n", True)
    await at.hand.kill()
    with pytest.raises(HandLost):
        await at.ask("echo $A")


async def test_without_bash_it_is_sh() -> None:
    hand = LiveHand()
    (hand.folder / "hand.py").write_bytes((hand.folder / "hand.py").read_bytes().replace(b"/bin/bash", b"/bin/none"))
    try:
        await hand.host.open()
        await hand.start()
        at = At(hand)
        assert (await at.ask("cd /tmp; A=1; echo $0; (exit 4)"))[0] == "/bin/sh\n"
        await at.leave("echo $?; pwd; sleep 1000; echo not this", "/tmp\n")
        assert (await at.ask(interrupt=True))[1].code == 130
        assert (await at.ask("for i in"))[1].code == 2
        assert (await at.ask("echo $A"))[0] == "1\n"
    finally:
        await hand.discard()


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
