"""The tools as a model calls them, over a real hand on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator

import pytest

from roommate.domain import Event, Hand, ToolCall, ToolOutput, ToolResult, Tools
from roommate.errors import ImageError
from roommate.tools import RoomTools, TurnPorts
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE, until

KEEP = 2000


class Room:
    """`call` is what the model does; `events` is what people see."""

    def __init__(self, hand: LiveHand) -> None:
        self.hand = hand
        self.files = hand.workspace
        self.events: list[Event] = []
        self.tools: Tools = RoomTools(
            self._bring_up, TurnPorts(command_timeout=PATIENCE, longest_timeout=PATIENCE, keep=KEEP)
        )
        self._count = 0

    async def _bring_up(self) -> Hand:
        return self.hand.host

    async def call(self, name: str, **arguments: object) -> ToolResult:
        self._count += 1
        call = ToolCall(str(self._count), name, json.dumps(arguments))
        result = await self.tools.call(call, self.events.append)
        assert result.call_id == call.id
        assert result.title
        assert "\n" not in result.title
        result.text.encode()
        return result


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with live_hand() as hand:
        yield Room(hand)


# ── run_command ──────────────────────────────────────────────────────────────────────────────────


async def test_a_command(room: Room) -> None:
    result = await room.call("run_command", command="echo out; echo err >&2")
    assert result.ok
    assert re.fullmatch(r"out\nerr\n\[exit code 0 · \d\.\d s\]", result.text)
    assert re.fullmatch(r"exit code 0 · \d\.\d s", result.title)
    assert "".join(event.text for event in room.events if isinstance(event, ToolOutput)) == "out\nerr\n"


async def test_how_a_command_ended_is_said(room: Room) -> None:
    failed = await room.call("run_command", command="exit 3")
    assert not failed.ok
    assert failed.text.startswith("(no output)\n[exit code 3 · ")
    killed = await room.call("run_command", command="kill -KILL $$")
    assert not killed.ok
    assert "[killed by SIGKILL (9) · " in killed.text
    late = await room.call("run_command", command="echo begun; sleep 60", timeout=1)
    assert not late.ok
    ended = r"begun\n\[timed out after \d+\.\d s and was killed; to let it run longer give it a timeout \(at most 120\)"
    assert re.match(ended, late.text)
    missing = await room.call("run_command", command="no-such-program")
    assert "exit code 127" in missing.text
    nowhere = await room.call("run_command", command="true", cwd="nowhere")
    assert not nowhere.ok
    assert "nowhere: no such file or folder" in nowhere.text


async def test_the_longest_timeout_is_the_limit(room: Room) -> None:
    tools = RoomTools(room._bring_up, TurnPorts(command_timeout=0.1, longest_timeout=0.2))
    for arguments in ("{}", '{"timeout": 60}'):
        asked = json.dumps({"command": "sleep 60", **json.loads(arguments)})
        result = await tools.call(ToolCall("1", "run_command", asked), room.events.append)
        assert "timed out" in result.text


async def test_a_command_runs_in_the_workspace_or_below(room: Room) -> None:
    (room.files / "sub").mkdir()
    assert (await room.call("run_command", command="pwd")).text.startswith(str(room.files) + "\n")
    assert (await room.call("run_command", command="pwd", cwd="sub")).text.startswith(str(room.files / "sub") + "\n")


async def test_the_shell_is_bash_and_nobody_is_asked(room: Room) -> None:
    result = await room.call(
        "run_command", command="[[ abc == a* ]] && echo {1..3}; echo $GIT_TERMINAL_PROMPT; read x || echo eof"
    )
    assert result.text.startswith("1 2 3\n0\neof\n")


async def test_long_output_is_cut_and_whole_in_a_file(room: Room) -> None:
    result = await room.call("run_command", command="seq 100000")
    lines = result.text.splitlines()
    assert lines[:2] == ["1", "2"]
    assert lines[-2:-1] == ["100000"]
    assert lines[-1].startswith("[exit code 0")
    said = re.search(r"^… (\d+) bytes \((\d+) lines\) left out, whole output in (\S+) …$", result.text, re.MULTILINE)
    assert said
    assert len(lines) - 2 + int(said[2]) == 100_000
    assert (room.files / said[3]).read_text().splitlines() == [str(n) for n in range(1, 100_001)]
    assert len(result.text) < KEEP + 200
    assert 1 <= len(room.events) < 20
    again = await room.call("read_file", path=said[3], offset=5000, limit=2)
    assert again.text.startswith("5000\n5001\n")


async def test_a_hundred_megabytes_are_bounded(room: Room) -> None:
    result = await room.call("run_command", command="head -c 100000000 /dev/zero | tr '\\0' x")
    assert result.ok
    assert len(result.text) < KEEP + 200
    assert all(len(event.text) <= 4096 for event in room.events if isinstance(event, ToolOutput))


async def test_binary_output_is_said(room: Room) -> None:
    result = await room.call("run_command", command=f"head -c 3000 {sys.executable}; head -c 70000 /dev/urandom")
    assert result.ok
    assert result.text.startswith("[binary output, 73000 bytes, all of it in .roommate/output/")
    assert "7f 45 4c 46" in result.text


async def test_colours_and_progress_bars_are_plain(room: Room) -> None:
    result = await room.call("run_command", command=r"printf '\033[31mred\033[0m\n 10%%\r 99%%\rdone\n\a\377\n'")
    assert result.text.startswith("red\ndone\n\ufffd\n[exit")


async def test_people_see_output_while_it_runs(room: Room) -> None:
    running = asyncio.ensure_future(room.call("run_command", command="echo now; sleep 60"))
    await until(lambda: room.events)
    assert room.events == [ToolOutput("1", "now\n")]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not room.hand.left())


async def test_calls_run_at_the_same_time(room: Room) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    results = await asyncio.gather(*(room.call("run_command", command=f"sleep 0.5; echo {n}") for n in range(20)))
    assert loop.time() - began < 5
    assert [result.text.split()[0] for result in results] == [str(n) for n in range(20)]


# ── Background ───────────────────────────────────────────────────────────────────────────────────


async def test_a_background_command(room: Room) -> None:
    started = await room.call("run_command", command="echo ready; sleep 0.8; seq 2000; sleep 60", background=True)
    assert started.ok
    assert started.text.startswith("ready\n[runs in the background with id 1; ")
    assert started.title == "in the background, id 1"
    waited = await room.call("read_background", id=1, wait=0.6)
    assert "[background 1: still running; log in /home/room/.roommate/jobs/1.log]" in waited.text
    assert waited.text.startswith("… ")
    assert "\n2000\n[" in waited.text
    assert len(waited.text) < KEEP + 300
    stopped = await room.call("stop_background", id="1")
    assert "[background 1: ended: killed by SIGTERM (15) · " in stopped.text
    assert not room.hand.left()


async def test_a_background_command_that_fails_at_once_says_so(room: Room) -> None:
    failed = await room.call("run_command", command="echo no port; exit 4", background=True)
    assert not failed.ok
    assert failed.text.startswith("no port\n[ended: exit code 4 · ")


async def test_waiting_ends_with_the_command(room: Room) -> None:
    await room.call("run_command", command="sleep 0.7; echo done; exit 2", background=True)
    ended = await room.call("read_background", id="1", wait=100)
    assert ended.text.startswith("done\n[background 1: ended: exit code 2 · ")


async def test_an_unknown_background_command(room: Room) -> None:
    for tool in ("read_background", "stop_background"):
        result = await room.call(tool, id="7")
        assert not result.ok
        assert result.text == "there is no background job '7'; there are: none"


# ── shell ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_shell_keeps_its_state(room: Room) -> None:
    (room.files / "sub").mkdir()
    first = await room.call("shell", command="cd sub && export A=1")
    assert re.fullmatch(
        rf"\(no output\)\n\[exit code 0 · \d+\.\d s; in {room.files}/sub; this is a new shell: .*\]", first.text
    )
    assert re.fullmatch(r"exit code 0 · \d+\.\d s", first.title)
    second, third = await asyncio.gather(
        room.call("shell", command="echo $A; A=2; seq 100000"), room.call("shell", command="echo $A; false")
    )
    assert second.text.startswith("1\n1\n2\n")
    assert "left out, whole output in .roommate/output/" in second.text
    assert len(second.text) < KEEP + 400
    assert re.fullmatch(rf"2\n\[exit code 1 · \d+\.\d s; in {room.files}/sub\]", third.text)
    assert not third.ok
    assert "".join(event.text for event in room.events if isinstance(event, ToolOutput)).endswith("2\n")


async def test_a_program_in_the_shell_is_talked_to(room: Room) -> None:
    await room.call("shell", command="true")
    begun = await room.call("shell", command="echo 'who?'; read name; echo hello $name; sleep 1000", timeout=2)
    assert begun.ok
    assert begun.text.startswith("who?\n[still running after ")
    assert "with interrupt" in begun.text
    busy = await room.call("shell", command="true")
    assert not busy.ok
    assert "it still runs: echo 'who?'; read" in busy.text
    assert (await room.call("shell", input="ann\n")).text.startswith("hello ann\n[still running after ")
    stopped = await room.call("shell", interrupt=True)
    assert "[exit code 130 · " in stopped.text
    assert "[exit code 130 " in (await room.call("shell")).text, "nothing runs, and nothing is waited for"
    ended = await room.call("shell", end=True)
    assert ended.ok
    assert "[the shell has ended: killed by SIGHUP (1) · " in ended.text
    wrong = await room.call("shell", command="true", interrupt=True)
    assert not wrong.ok
    assert "command and interrupt cannot go together" in wrong.text


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


async def test_write_read_edit(room: Room) -> None:
    wrote = await room.call("write_file", path="src/new/a.py", content="one\ntwo\nthree\n")
    assert (wrote.ok, wrote.title) == (True, "3 lines, 14 B")
    assert wrote.diff == "+one\n+two\n+three"
    assert (await room.call("read_file", path="src/new/a.py")).text == "one\ntwo\nthree"
    edited = await room.call("edit_file", path="/workspace/src/new/a.py", old="two\n", new="2\nzwei\n")
    assert edited.ok
    assert edited.title == "line 2: −1 +2"
    assert edited.diff == " one\n-two\n+2\n+zwei\n three"
    again = await room.call("write_file", path="src/new/b.bin", content="a\0" * 50)
    assert again.diff == "", "of what is no text"
    over = await room.call("write_file", path="src/new/a.py", content="one\n2\nzwei\nvier\n")
    assert (over.title, over.diff) == ("4 lines, 16 B · −1 +1", " zwei\n-three\n+vier")
    assert (room.files / "src/new/a.py").read_text() == "one\n2\nzwei\nvier\n"
    wrong = await room.call("edit_file", path="src/new/a.py", old="four", new="x")
    assert not wrong.ok
    assert "old is not in src/new/a.py" in wrong.text
    assert not (await room.call("edit_file", path="none", old="a", new="b")).ok


async def test_edits_of_one_file_at_the_same_time_all_count(room: Room) -> None:
    (room.files / "f").write_text("\n".join(f"<{n}>" for n in range(20)))
    results = await asyncio.gather(
        *(room.call("edit_file", path="f", old=f"<{n}>", new=f"done {n}") for n in range(20))
    )
    assert all(result.ok for result in results)
    assert (room.files / "f").read_text() == "\n".join(f"done {n}" for n in range(20))


async def test_reading_a_part(room: Room) -> None:
    (room.files / "f").write_text("".join(f"line {n}\n" for n in range(1, 51)))
    part = await room.call("read_file", path="f", offset=10, limit=2)
    assert part.text == "line 10\nline 11\n[lines 10-11 of 50; go on with offset 12]"
    assert (await room.call("read_file", path="f", offset=50)).text == "line 50\n[lines 50-50 of 50]"
    assert (await room.call("read_file", path="f", offset=0, limit=50)).text.endswith("\nline 50")
    beyond = await room.call("read_file", path="f", offset=51)
    assert (beyond.ok, beyond.text) == (False, "there is no line 51 in f: it has 50 lines")
    (room.files / "f").write_text("no end of line")
    assert (await room.call("read_file", path="f")).text == "no end of line"
    (room.files / "f").write_text("")
    assert (await room.call("read_file", path="f")).text == "(the file is empty)"


async def test_reading_a_large_file(room: Room) -> None:
    lines = [f"{n:07}" * 3 for n in range(200_000)]
    (room.files / "large").write_text("\n".join(lines))
    start = await room.call("read_file", path="large")
    assert start.text.splitlines()[:2] == lines[:2]
    assert len(start.text) < KEEP + 200
    said = re.search(r"\[lines 1-(\d+); go on with offset (\d+)\]$", start.text)
    assert said
    assert int(said[2]) == int(said[1]) + 1
    far = await room.call("read_file", path="large", offset=150_000, limit=3)
    assert far.text.splitlines()[:3] == lines[149_999:150_002]
    last = await room.call("read_file", path="large", offset=200_000)
    assert last.text == lines[-1] + "\n[lines 200000-200000 of 200000]"
    (room.files / "wide").write_bytes(b"x" * 3_000_000 + b"\nshort\n")
    wide = await room.call("read_file", path="wide")
    assert wide.text.endswith("x… [this line is longer]\n[lines 1-1 of 2; go on with offset 2]")
    assert (await room.call("read_file", path="wide", offset=2)).text.startswith("short")


async def test_what_cannot_be_read_is_said(room: Room) -> None:
    shutil.copy("/bin/true", room.files / "binary")
    os.mkfifo(room.files / "fifo")
    binary = await room.call("read_file", path="binary")
    assert not binary.ok
    assert "is a binary file of" in binary.text
    for path, says in (
        ("fifo", "not a regular file"),
        ("missing", "no such file"),
        (".", "is a folder"),
        ("\0", "null"),
    ):
        result = await room.call("read_file", path=path)
        assert not result.ok
        assert says in result.text


async def test_listing(room: Room) -> None:
    for path in ("b.txt", "src/a.py", "src/deep/c.py"):
        (room.files / path).parent.mkdir(parents=True, exist_ok=True)
        (room.files / path).write_text("x" * 1500)
    (room.files / "link").symlink_to("b.txt")
    (room.files / "new\nline").touch()
    listed = await room.call("list_files")
    assert listed.text.splitlines() == ["b.txt  1.5 KiB", "link (link)", "new?line  0 B", "src/"]
    assert listed.title == "4 entries"
    assert (await room.call("list_files", path="src")).text.splitlines() == ["src/a.py  1.5 KiB", "src/deep/"]
    assert (await room.call("list_files", glob="*.py")).text.splitlines() == [
        "src/a.py  1.5 KiB",
        "src/deep/c.py  1.5 KiB",
    ]
    for glob in ("src/{a,deep/c}.py", "/workspace/src/**/*.{py,rs}"):
        names = [line.split()[0] for line in (await room.call("list_files", glob=glob)).text.splitlines()]
        assert [name.removeprefix("/workspace/") for name in names] == ["src/a.py", "src/deep/c.py"]
    assert (await room.call("list_files", glob="/workspace/*.py")).text == "nothing matches"
    assert (await room.call("list_files", glob="*.rs")).text == "nothing matches"
    assert not (await room.call("list_files", path="b.txt")).ok
    for number in range(700):
        (room.files / f"many-{number:03}").touch()
    many = await room.call("list_files")
    assert len(many.text) < KEEP + 100
    assert re.search(r"\n… and \d+ more: narrow it with path or glob$", many.text)


@pytest.mark.parametrize("with_ripgrep", [True, False], ids=["ripgrep", "grep"])
async def test_search(room: Room, with_ripgrep: bool) -> None:
    if with_ripgrep:
        assert shutil.which("rg"), "this test needs ripgrep: apt-get install ripgrep"
    else:
        await without_ripgrep(room)
    for path in ("b.txt", "src/a.py", "src/deep/c.py", ".git/x.py"):
        (room.files / path).parent.mkdir(parents=True, exist_ok=True)
        (room.files / path).write_text(f"first\nneedle in {path}\n")
    found = await room.call("search", pattern="need+le")
    assert sorted(found.text.splitlines()) == [
        "b.txt:2:needle in b.txt",
        "src/a.py:2:needle in src/a.py",
        "src/deep/c.py:2:needle in src/deep/c.py",
    ]
    assert found.title == "3 lines"
    assert len((await room.call("search", pattern="needle", path="src")).text.splitlines()) == 2
    assert len((await room.call("search", pattern="needle", glob="*.txt")).text.splitlines()) == 1
    nothing = await room.call("search", pattern="haystack")
    assert nothing.ok
    assert nothing.text.startswith("no matches")
    broken = await room.call("search", pattern="(")
    assert not broken.ok
    assert "exit code 2" in broken.text
    assert "nowhere" in (await room.call("search", pattern="x", path="nowhere")).text
    for glob in ("*.{py,txt}", "/workspace/**/*.{py,txt}"):
        assert len((await room.call("search", pattern="needle", glob=glob)).text.splitlines()) == 3
    below = await room.call("search", pattern="needle", glob="/workspace/src/*.py")
    if with_ripgrep:  # grep looks at names alone
        assert below.text == "/workspace/src/a.py:2:needle in src/a.py"
        assert (await room.call("search", pattern="needle", path="src", glob="deep/*.py")).text.startswith(
            "src/deep/c."
        )
    assert (await room.call("search", pattern="-e")).ok
    (room.files / "many").write_text("needle\n" * 5000)
    many = await room.call("search", pattern="needle", path="many")
    assert len(many.text) < KEEP + 200
    assert re.search(r"\n… \d+ lines more: narrow it with path, glob or pattern$", many.text)


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("kill -KILL $$", "[these are not all: rg was killed by SIGKILL (9) · "),
        (
            "echo rg: secret: Permission denied; exit 2",
            "[these are not all: not all could be searched: rg ended with exit",
        ),
    ],
)
async def test_what_a_search_found_before_it_ended_is_a_result(room: Room, ends: str, says: str) -> None:
    for found, ok in (("echo a.py:1:needle;", True), ("", False)):
        await with_program(room, "rg", f"{found} {ends}")
        result = await room.call("search", pattern="needle")
        assert result.ok is ok
        assert result.text.startswith("a.py:1:needle\n") is ok
        assert (says if ok else "rg ") in result.text
        assert result.title.startswith("1 line, not all" if ok else "failed: ")


async def with_program(room: Room, name: str, script: str) -> None:
    """A hand that finds this program of that name first."""
    program = room.hand.folder / "programs" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    await start_again(room, f"{program.parent}:{os.environ['PATH']}")


async def without_ripgrep(room: Room) -> None:
    """A hand that finds grep but no rg."""
    programs = room.hand.folder / "programs"
    programs.mkdir()
    (programs / "grep").symlink_to(shutil.which("grep") or "/bin/grep")
    await start_again(room, str(programs))


async def start_again(room: Room, programs: str) -> None:
    await room.hand.kill()
    path = os.environ["PATH"]
    os.environ["PATH"] = programs
    try:
        await room.hand.start()
    finally:
        os.environ["PATH"] = path


# ── Whatever goes wrong ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", ["", "{", "[]", '"x"', "null", '{"command": 5', '{"commando": "ls"}', "\ud800"])
async def test_bad_arguments_are_a_result(room: Room, arguments: str) -> None:
    result = await room.tools.call(ToolCall("1", "run_command", arguments), room.events.append)
    assert not result.ok
    assert result.text.startswith("run_command was not run: ")
    assert '"command"' in result.text
    assert (await room.call("run_command", command="echo fine")).ok


async def test_an_unknown_tool_is_a_result(room: Room) -> None:
    result = await room.tools.call(ToolCall("1", "rm\n\x1b[31m", "{}"), room.events.append)
    assert not result.ok
    assert result.text.startswith("there is no tool `rm")
    assert "\n[the tools are run_command, " in result.text
    assert "the tools are" not in result.title, "that is for the model alone"
    assert "the tools" not in result.title
    assert "\x1b" not in result.text


async def test_a_sandbox_that_does_not_come_up_is_a_result() -> None:
    async def no_image() -> Hand:
        raise ImageError("the image localhost/x is missing: run `scripts/demo`")

    tools = RoomTools(no_image, TurnPorts(command_timeout=1, longest_timeout=1))
    result = await tools.call(ToolCall("1", "run_command", '{"command": "ls"}'), lambda _: None)
    assert result == ToolResult(
        "1",
        "the room's sandbox cannot be used: the image localhost/x is missing: run `scripts/demo`",
        False,
        "the room's sandbox cannot be used: the image localhost/x is missing: run `scripts/demo`",
    )


async def test_a_hand_that_dies_is_a_result(room: Room) -> None:
    running = asyncio.ensure_future(room.call("run_command", command="echo; sleep 60"))
    await until(lambda: room.events or room.hand.left())
    await room.hand.kill()
    result = await running
    assert not result.ok
    assert result.text.startswith("the sandbox was lost while this ran; whether it was done is not known: ")


async def test_a_mistake_of_ours_is_a_result(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Hand:
        raise ZeroDivisionError

    tools = RoomTools(broken, TurnPorts(command_timeout=1, longest_timeout=1))
    result = await tools.call(ToolCall("1", "list_files", "{}"), lambda _: None)
    assert not result.ok
    assert "ZeroDivisionError" in result.text
    assert "ZeroDivisionError" in caplog.text
