"""The hand's two ends against each other, on this machine; the container around it is tested elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from roommate.domain import DirEntry, Exit, Job
from roommate.errors import HandLost, SandboxError, ToolError
from roommate.sandbox.hand import HandHost
from roommate.sandbox.inside.frames import WINDOW
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE, until


@pytest.fixture
async def hand() -> AsyncIterator[LiveHand]:
    async with live_hand() as live:
        yield live


async def output(hand: LiveHand, *args: object, **options: object) -> tuple[bytes, Exit]:
    printed = bytearray()
    ended = await hand.host.run(*args, on_output=printed.extend, **options)  # type: ignore[arg-type]
    return bytes(printed), ended


async def end_of(hand: LiveHand, job: Job) -> Job:
    async with asyncio.timeout(PATIENCE):
        while (now := await hand.host.job(job.id)).exit is None:
            await asyncio.sleep(0.01)
    return now


# ── Running ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_command_prints_and_ends(hand: LiveHand) -> None:
    printed, ended = await output(hand, "echo one; echo two >&2; echo three; exit 7")
    assert printed == b"one\ntwo\nthree\n"
    assert (ended.code, ended.signal, ended.timed_out, ended.out_of_memory, ended.spilled) == (
        7,
        None,
        False,
        False,
        None,
    )
    assert 0 < ended.seconds < 5


async def test_a_program_gets_its_arguments_as_they_are(hand: LiveHand) -> None:
    assert (await output(hand, ["printf", "%s|", "a b", "$HOME", "*", "ä"]))[0] == "a b|$HOME|*|ä|".encode()


async def test_environment_and_folder(hand: LiveHand) -> None:
    (hand.workspace / "sub").mkdir()
    printed, _ = await output(hand, "echo $COLOUR; pwd; cat /dev/stdin", env={"COLOUR": "blue"}, cwd="/workspace/sub")
    assert printed.decode().splitlines() == ["blue", str(hand.workspace / "sub")]
    assert (await output(hand, ["pwd"]))[0].decode().strip() == str(hand.workspace)
    assert (await output(hand, ["pwd"], cwd="sub"))[0].decode().strip() == str(hand.workspace / "sub")
    assert (await output(hand, ["pwd"], cwd="/"))[0] == b"/\n"


async def test_a_signal_is_no_exit_code(hand: LiveHand) -> None:
    ended = await hand.host.run("kill -SEGV $$")
    assert (ended.code, ended.signal) == (None, signal.SIGSEGV)


async def test_children_start_with_ordinary_signals(hand: LiveHand) -> None:
    printed, ended = await output(hand, "grep -E 'Sig(Ign|Blk)' /proc/self/status; yes | head -1")
    blocked, ignored = (int(line.split()[1], 16) for line in printed.splitlines()[:2])
    assert blocked == 0
    assert ignored & ~(0b11 << 31) == 0, "beyond 32 and 33, which are the C library's own"
    assert ended.code == 0


@pytest.mark.parametrize(
    ("command", "cwd", "says"),
    [
        (["no-such-program"], "/workspace", "no-such-program: no such file"),
        (["true"], "/workspace/no-such-folder", "no-such-folder: no such file"),
        (["true"], "/etc/passwd", "not a folder"),
        (["/etc/passwd"], "/workspace", "/etc/passwd: permission denied"),
        ("echo a\0b", "/workspace", "null"),
        (["true", "\ud800"], "/workspace", "Unicode"),
        (["true", "x" * 200_000], "/workspace", "too long"),
        ("x" * 300_000, "/workspace", "too long"),
    ],
)
async def test_what_cannot_start_says_why(hand: LiveHand, command: str | list[str], cwd: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        await hand.host.run(command, cwd=cwd)
    assert (await hand.host.run(["true"])).code == 0
    assert not hand.host.busy


async def test_input_of_any_size_comes_back(hand: LiveHand) -> None:
    sent = os.urandom(3_000_000)
    printed, ended = await output(hand, ["cat"], stdin=sent)
    assert ended.code == 0
    assert printed == sent


async def test_input_that_nobody_reads_holds_nothing_up(hand: LiveHand) -> None:
    async with asyncio.timeout(PATIENCE):
        assert (await hand.host.run("exec 0<&-; sleep 0.1; exit 5", stdin=bytes(3_000_000))).code == 5
        assert (await hand.host.run(["true"], stdin=bytes(3_000_000))).code == 0


async def test_fifty_at_once(hand: LiveHand) -> None:
    got = await asyncio.gather(*(output(hand, f"sleep 0.3; echo {n}; exit {n}") for n in range(50)))
    assert [(int(printed), ended.code) for printed, ended in got] == [(n, n) for n in range(50)]
    assert max(ended.seconds for _, ended in got) < 10


async def test_much_output_is_whole_and_nobody_keeps_it(hand: LiveHand) -> None:
    count = 0

    def take(piece: bytes) -> None:
        nonlocal count
        assert len(piece) <= WINDOW
        count += len(piece)

    assert (await hand.host.run(["head", "-c", "100000000", "/dev/zero"], on_output=take)).code == 0
    assert count == 100_000_000
    status = Path(f"/proc/{hand.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    assert peak < 40_000, f"the hand took {peak} kB"


async def test_a_slow_reader_holds_back_its_own_process_only(hand: LiveHand) -> None:
    go_on = asyncio.Event()
    got = bytearray()

    async def slow(piece: bytes) -> None:
        got.extend(piece)
        await go_on.wait()

    command = "for i in $(seq 100); do head -c 50000 /dev/zero; echo $i > progress; done"
    slow_one = asyncio.ensure_future(hand.host.run(command, on_output=slow))
    await until(lambda: got)
    for _ in range(20):
        printed, _ = await output(hand, ["head", "-c", "1000000", "/dev/zero"])
        assert len(printed) == 1_000_000
    await asyncio.sleep(0.1)
    progress = int((hand.workspace / "progress").read_text())
    assert progress * 50_000 < 2 * WINDOW + (1 << 17), "it went on although nobody read"
    assert not slow_one.done()
    go_on.set()
    assert (await slow_one).code == 0
    assert len(got) == 5_000_000


async def test_a_timeout_counts_while_output_is_held_back(hand: LiveHand) -> None:
    stopped = asyncio.Event()

    async def slow(_: bytes) -> None:
        await stopped.wait()

    running = asyncio.ensure_future(hand.host.run(["yes"], on_output=slow, timeout=0.3))
    await until(lambda: hand.left())
    await until(lambda: not hand.left())
    stopped.set()
    ended = await running
    assert (ended.timed_out, ended.signal) == (True, signal.SIGTERM)


async def test_a_reader_that_fails_ends_the_command(hand: LiveHand) -> None:
    def take(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await hand.host.run("echo; sleep 60", on_output=take)
    await until(lambda: not hand.left())
    await until(lambda: not hand.host.busy)


FAMILY = """
(trap '' TERM; sleep 61) &
setsid sleep 62 &
setsid sh -c 'trap "" TERM; env -i sh -c "echo \\$\\$ > b; mv b bare; exec sleep 63" & wait' &
sh -c 'setsid sleep 64 & exit'
sleep 65 &
wait
"""


def bare(hand: LiveHand) -> bool:
    """Is the one of the family that has no environment alive?"""
    try:
        return " Z " not in Path(f"/proc/{int((hand.workspace / 'bare').read_text())}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_a_timeout_kills_all_that_was_started(hand: LiveHand) -> None:
    ended = await hand.host.run(FAMILY, timeout=0.5)
    assert ended.timed_out
    assert ended.signal == signal.SIGTERM
    assert not hand.left()
    assert not bare(hand)


async def test_a_timeout_leaves_time_to_clean_up(hand: LiveHand) -> None:
    command = "trap 'sleep 0.2; echo cleaned; exit 9' TERM; sleep 60 & wait"
    printed, ended = await output(hand, command, timeout=0.2)
    assert printed == b"cleaned\n"
    assert (ended.code, ended.timed_out) == (9, True)


async def test_being_cancelled_kills_all_that_was_started(hand: LiveHand) -> None:
    running = asyncio.ensure_future(hand.host.run(FAMILY))
    await until((hand.workspace / "bare").exists)
    assert bare(hand)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bare(hand), "who cancels does not wait for the dying"
    await until(lambda: not hand.left() and not bare(hand))
    await until(lambda: not hand.host.busy)
    assert (await hand.host.run(["true"])).code == 0


async def test_a_fork_bomb_is_killed(hand: LiveHand) -> None:
    """Kept small by its own count, as there is no limit of processes around it here."""
    bomb = "f() { [ $1 -gt 0 ] && { f $(($1-1)) & f $(($1-1)) & }; sleep 60; }; f 6"
    assert (await hand.host.run(["sh", "-c", bomb], timeout=0.5)).timed_out
    assert not hand.left()


async def test_what_is_left_in_the_background_does_not_hold_the_call(hand: LiveHand) -> None:
    command = "(sleep 2; echo late; echo later; touch survived) & echo done"
    printed, ended = await output(hand, command)
    assert printed == b"done\n"
    assert ended.code == 0
    assert ended.seconds < 0.5
    await until((hand.workspace / "survived").exists)


async def test_a_chatty_background_process_does_not_hold_the_call_either(hand: LiveHand) -> None:
    async def slow(_: bytes) -> None:
        await asyncio.sleep(0.05)

    async with asyncio.timeout(PATIENCE):
        assert (await hand.host.run("yes & echo $! > pid", on_output=slow)).code == 0
    os.kill(int((hand.workspace / "pid").read_text()), signal.SIGKILL)


# ── The whole output in a file ───────────────────────────────────────────────────────────────────


async def test_long_output_is_in_a_file_as_well(hand: LiveHand) -> None:
    printed, ended = await output(hand, "seq 20000", spill_after=1000)
    assert ended.spilled is not None
    assert ended.spilled.startswith(".roommate/output/")
    assert (hand.workspace / ended.spilled).read_bytes() == printed
    assert len(printed) > 100_000
    assert (hand.workspace / ".roommate/.gitignore").read_text() == "*\n"


async def test_short_output_is_not(hand: LiveHand) -> None:
    assert (await hand.host.run("echo short", spill_after=1000)).spilled is None
    assert not (hand.workspace / ".roommate").exists()


async def test_a_file_that_cannot_be_made_breaks_nothing(hand: LiveHand) -> None:
    (hand.workspace / ".roommate").write_text("in the way")
    (hand.home / ".roommate").write_text("in the way")
    printed, ended = await output(hand, "seq 20000", spill_after=1000)
    assert (ended.code, ended.spilled) == (0, None)
    assert printed.endswith(b"20000\n")
    with pytest.raises(ToolError):
        await hand.host.start_job("true")


async def test_a_full_disk_breaks_nothing() -> None:
    async with live_hand(largest_file=50_000) as hand:
        printed, ended = await output(hand, "seq 20000", spill_after=1000)
        assert (ended.code, ended.spilled) == (0, None)
        assert printed.endswith(b"20000\n")
        assert not list((hand.workspace / ".roommate/output").iterdir()), "half of it under the name of the whole"
        with pytest.raises(ToolError, match="large"):
            await hand.host.write("big", bytes(60_000))
        assert {path.name for path in hand.workspace.iterdir()} == {".roommate"}
        job = await hand.host.start_job("seq 20000; echo more")
        how = (await end_of(hand, job)).exit
        assert how is not None
        assert how.code == 0


# ── Which files are meant ────────────────────────────────────────────────────────────────────────


async def test_a_program_and_paths_are_found_as_a_shell_in_that_folder_finds_them(hand: LiveHand) -> None:
    there, sh = hand.workspace.resolve() / "there", Path("/bin/sh").resolve()
    there.mkdir()
    (there / "tool").touch()
    (hand.workspace / "way").symlink_to(there)
    found = await hand.host.locate("sh", ["new/file", "../way/tool", "/"], cwd="way")
    assert (found.folder, found.program, found.paths) == (
        str(there),
        str(sh),
        [str(there / "new/file"), str(there / "tool"), "/"],
    )
    for program, leads_to in (("./tool", there / "tool"), ("tool", ""), ("../way/tool", there / "tool"), ("no", "")):
        assert (await hand.host.locate(program, cwd="there")).program == str(leads_to)


async def test_what_leads_nowhere_is_empty(hand: LiveHand) -> None:
    (hand.workspace / "a").symlink_to("b")
    (hand.workspace / "b").symlink_to("a")
    found = await hand.host.locate("a/tool", ["a", "a/../x", "b/x/.."])
    assert (found.program, found.named_in, found.name, found.paths) == ("", "", "", ["", "", ""])
    strange = os.fsencode(hand.workspace) + b"/\xff"
    await asyncio.to_thread(os.mkdir, strange)
    (hand.workspace / "to").symlink_to(os.fsdecode(strange))
    found = await hand.host.locate("to/..", ["to/x"], cwd="to")
    assert (found.folder, found.paths) == ("", [""])
    for folder in ("not-there", "a", str(Path("/bin/sh").resolve())):
        with pytest.raises(ToolError):
            await hand.host.locate("sh", cwd=folder)


async def test_a_name_counts_where_the_rooms_programs_cannot_have_given_it(hand: LiveHand) -> None:
    (hand.workspace / "mine").symlink_to("/bin/sh")
    found = await hand.host.locate("./mine")
    assert (found.program, found.named_in, found.name) == (str(Path("/bin/sh").resolve()), "", "")
    found = await hand.host.locate("/proc/self/exe")
    assert (found.named_in, found.name) == ("", ""), "of a process of theirs"


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_written_is_read(hand: LiveHand) -> None:
    content = os.urandom(2_500_000)
    await hand.host.write("new/folder/file.bin", content)
    assert (hand.workspace / "new/folder/file.bin").read_bytes() == content
    whole = await hand.host.read("/workspace/new/folder/file.bin", limit=10_000_000)
    assert (whole.content, whole.size) == (content, len(content))
    part = await hand.host.read("new/folder/file.bin", offset=1_000_000, limit=5)
    assert (part.content, part.size) == (content[1_000_000:1_000_005], len(content))
    beyond = await hand.host.read("new/folder/file.bin", offset=9_000_000)
    assert (beyond.content, beyond.size) == (b"", len(content))
    await hand.host.write("new/folder/file.bin", b"")
    assert (await hand.host.read("new/folder/file.bin")).size == 0
    assert [path.name for path in (hand.workspace / "new/folder").iterdir()] == ["file.bin"]


async def test_writing_keeps_the_mode_and_follows_links(hand: LiveHand) -> None:
    script = hand.workspace / "script"
    script.write_text("old")
    script.chmod(0o751)
    (hand.workspace / "link").symlink_to("script")
    (hand.workspace / "dangling").symlink_to("target")
    await hand.host.write("link", b"new")
    await hand.host.write("dangling", b"made")
    assert script.read_text() == "new"
    assert script.stat().st_mode & 0o7777 == 0o751
    assert (hand.workspace / "link").is_symlink()
    assert (hand.workspace / "target").read_text() == "made"


async def test_what_was_looked_up_is_what_runs_and_is_read_or_nothing_is(hand: LiveHand) -> None:
    inside, outside = hand.workspace / "inside", hand.home / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
        (folder / "tool").write_text(f"#!/bin/sh\necho {folder.name} $0 in $(pwd)\n")
        (folder / "tool").chmod(0o755)
    at, program = str(inside), str(inside / "tool")
    printed, _ = await output(hand, [program], cwd=at, called="/usr/bin/other")
    assert printed.decode() == f"inside {program} in {at}\n", "a script is known by its file"
    printed, _ = await output(hand, [os.path.realpath("/bin/sh"), "-c", "echo $0"], cwd=at, called="/opt/name")
    assert printed == b"/opt/name\n"
    for where in ("/", "/workspace", str(hand.workspace)):
        assert (await hand.host.run([os.path.realpath("/bin/true")], cwd=where, called="true")).code == 0
    assert (await hand.host.list("/workspace", exact=True))[1] == 1

    inside.rename(hand.workspace / "away")
    inside.symlink_to(outside)
    for command, where in (([program], "/"), (["/bin/true"], at)):
        with pytest.raises(ToolError, match="it is not what was looked up"):
            await hand.host.run(command, cwd=where, called=command[0])
        session = hand.host.session(command, cwd=where, terminal=(5, 5), called=command[0])
        with pytest.raises(ToolError, match="it is not what was looked up"):
            await session.finish(lambda _: None)
    for path in (str(inside / "file"), str(inside / "none")):
        with pytest.raises(ToolError, match="it is not what was looked up"):
            await hand.host.write(path, b"evil", exact=True)
    for call in (hand.host.read(str(inside / "file"), exact=True), hand.host.list(at, exact=True)):
        with pytest.raises(ToolError, match="it is not what was looked up"):
            await call
    assert sorted(one.name for one in outside.iterdir()) == ["file", "tool"]
    assert (outside / "file").read_text() == "outside"


async def test_files_of_proc_are_read(hand: LiveHand) -> None:
    got = await hand.host.read("/proc/self/status")
    assert got.content.startswith(b"Name:")
    assert got.size == len(got.content)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("fifo", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("socket", "No such device|not a regular file"),
        ("file/below", "not a folder"),
        ("loop", "symbolic links"),
        ("a\0b", "null"),
        ("\ud800", "Unicode"),
        ("\udc80", "Unicode"),
        ("n" * 300, "too long"),
    ],
)
async def test_what_is_no_file_is_refused_at_once(hand: LiveHand, path: str, says: str) -> None:
    (hand.workspace / "folder").mkdir()
    (hand.workspace / "file").touch()
    (hand.workspace / "loop").symlink_to("loop")
    os.mkfifo(hand.workspace / "fifo")
    os.mknod(hand.workspace / "socket", 0o140644)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ToolError, match=says):
            await hand.host.read(path)
        if path not in ("missing", "loop"):
            with pytest.raises(ToolError):
                await hand.host.write(path, b"x")
        if path != "folder":
            with pytest.raises(ToolError):
                await hand.host.list(path)


async def test_a_write_given_up_leaves_nothing(hand: LiveHand) -> None:
    (hand.workspace / "file").write_text("old")
    writing = asyncio.ensure_future(hand.host.write("file", bytes(50_000_000)))
    await until(lambda: len(list(hand.workspace.iterdir())) == 2)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await until(lambda: [path.name for path in hand.workspace.iterdir()] == ["file"])
    assert (hand.workspace / "file").read_text() == "old"


async def test_listing(hand: LiveHand) -> None:
    for path in ("b.py", "a.txt", "src/x.py", "src/deep/y.py", ".git/config.py", "node_modules/m.py", ".hidden"):
        (hand.workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (hand.workspace / path).write_text("12345")
    (hand.workspace / "link").symlink_to("src")
    Path(os.fsdecode(os.fsencode(hand.workspace) + b"/bad\xff")).touch()
    entries, total = await hand.host.list(".")
    assert total == len(entries) == 8
    assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
    kinds = {entry.path: entry.kind for entry in entries}
    assert kinds["link"] == "link"
    assert kinds["src"] == "dir"
    assert "bad\ufffd" in kinds
    assert DirEntry("a.txt", "file", 5) in entries
    entries, total = await hand.host.list("/workspace", "*.py")
    assert ([entry.path for entry in entries], total) == (["b.py", "src/deep/y.py", "src/x.py"], 3)
    assert [entry.path for entry in (await hand.host.list("src", "*/*.py"))[0]] == ["deep/y.py"]


async def test_a_long_list_is_cut_and_counted_and_holds_nobody_up(hand: LiveHand) -> None:
    for folder in range(30):
        (hand.workspace / f"{folder:03}").mkdir()
        for number in range(100):
            (hand.workspace / f"{folder:03}/{number:03}").touch()
    listing = asyncio.ensure_future(hand.host.list(".", "*", limit=150))
    while not listing.done():
        assert (await hand.host.run(["true"])).seconds < 1
    entries, total = await listing
    assert total == 3030
    assert len(entries) == 150
    assert [entry.path for entry in entries[:3]] == ["000", "000/000", "000/001"]


# ── Background jobs ──────────────────────────────────────────────────────────────────────────────


async def test_a_job_runs_on_and_writes_its_log(hand: LiveHand) -> None:
    (hand.workspace / "sub").mkdir()
    job = await hand.host.start_job("pwd; echo err >&2; sleep 60", cwd="sub")
    assert (job.exit, job.command) == (None, "pwd; echo err >&2; sleep 60")
    log = hand.log(job)
    await until(lambda: log.read_text() == f"{hand.workspace}/sub\nerr\n")
    assert await hand.host.job(job.id) == job
    assert await hand.host.jobs() == [job]
    stopped = await hand.host.stop_job(job.id)
    assert stopped.exit is not None
    assert stopped.exit.signal == signal.SIGTERM
    assert not hand.left()
    assert await hand.host.stop_job(job.id) == stopped
    assert (hand.home / ".roommate/.gitignore").read_text() == "*\n"
    assert not list(hand.workspace.glob(".*")), "what tidies the workspace takes no log"


async def test_a_job_that_will_not_go_is_killed(hand: LiveHand) -> None:
    job = await hand.host.start_job(FAMILY)
    await until((hand.workspace / "bare").exists)
    first, second = await asyncio.gather(hand.host.stop_job(job.id), hand.host.stop_job(job.id))
    assert first == second
    assert not hand.left()
    assert not bare(hand)


async def test_a_job_outlives_the_daemon_and_a_call_does_not(hand: LiveHand) -> None:
    job = await hand.host.start_job("sleep 0.5; echo finished; exit 3")
    calling = asyncio.ensure_future(hand.host.run("touch running; sleep 60"))
    await until((hand.workspace / "running").exists)
    await hand.restart_host()
    with pytest.raises(HandLost):
        await calling
    after = await end_of(hand, job)
    assert after.exit is not None
    assert after.exit.code == 3
    await until(lambda: hand.log(job).read_text() == "finished\n")
    assert not hand.left()


async def test_jobs_have_names_of_their_own_even_after_the_container_died(hand: LiveHand) -> None:
    first = await hand.host.start_job("echo first")
    await until(lambda: hand.log(first).read_text() == "first\n")
    await hand.kill()
    await until(lambda: not hand.host.here)
    await hand.start()
    second = await hand.host.start_job("echo second")
    await until(lambda: hand.log(second).read_text() == "second\n")
    assert hand.log(first).read_text() == "first\n"
    assert [job.id for job in await hand.host.jobs()] == [first.id, second.id]


async def test_a_hand_that_was_killed_finds_its_jobs_again(hand: LiveHand) -> None:
    """How they ended, what they print from now on, and all that they started."""
    ended = await hand.host.start_job("echo over; exit 3")
    how = (await end_of(hand, ended)).exit
    chatty = await hand.host.start_job(FAMILY.removesuffix("wait\n") + "while :; do echo more; sleep 0.02; done")
    last = await hand.host.start_job("while [ ! -e go ]; do sleep 0.02; done; seq 100000; echo last")
    await until((hand.workspace / "bare").exists)
    await until(lambda: "more" in hand.log(chatty).read_text())
    await hand.kill()
    (hand.workspace / "go").touch()
    seen = hand.log(chatty).read_text()
    await hand.start()
    assert (await hand.host.job(ended.id)).exit == how
    assert (await hand.host.job(chatty.id)).exit is None
    await until(lambda: len(hand.log(chatty).read_text()) > len(seen) + 20)
    unseen = (await end_of(hand, last)).exit
    assert unseen is not None
    assert (unseen.code, unseen.signal) == (None, None), "nobody was there to see it"
    assert hand.log(last).read_text().splitlines() == [*map(str, range(1, 100_001)), "last"], "none is lost"
    assert (await hand.host.stop_job(chatty.id)).exit is not None
    assert not hand.left()
    assert not bare(hand)
    assert int((await hand.host.start_job("true")).id) == int(last.id) + 1


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"[" * 10_000,
        b'{"text": "x", "leader": 1, "start": 1, "mark": "", "begun": 0, "exit": null}',
        b'{"text": "x", "leader": "9", "start": 1, "mark": "", "begun": 0, "exit": null}',
        b'{"text": "x", "leader": 9, "start": 1, "mark": "", "begun": 0, "exit": {"code": 7}}',
    ],
)
async def test_what_is_no_note_of_a_job_is_none(hand: LiveHand, note: bytes) -> None:
    """Whatever runs in the room can write there."""
    job = await hand.host.start_job("true")
    await end_of(hand, job)
    notes = hand.home / ".roommate/job-notes"
    await hand.kill()
    for name in ("7", "1234567890", "x"):
        (notes / f"{name}.json").write_bytes(note)
    os.mkfifo(notes / "8.json")
    (notes / "9.json").symlink_to("/dev/zero")
    (notes / f"{job.id}.pipe").unlink()
    (notes / f"{job.id}.pipe").symlink_to("/dev/zero")
    await hand.start()
    assert [one.id for one in await hand.host.jobs()] == [job.id]
    assert (await hand.host.start_job("true")).id == "2"


async def test_a_job_that_cannot_start_leaves_nothing(hand: LiveHand) -> None:
    with pytest.raises(ToolError, match="no such file"):
        await hand.host.start_job("true", cwd="nowhere")
    assert not await hand.host.jobs()
    assert not list((hand.home / ".roommate/jobs").iterdir())


async def test_jobs_have_a_limit(hand: LiveHand) -> None:
    for _ in range(64):
        await hand.host.start_job("sleep 60")
    with pytest.raises(ToolError, match="stop one first"):
        await hand.host.start_job("sleep 60")
    await asyncio.gather(*(hand.host.stop_job(job.id) for job in await hand.host.jobs()))
    assert not hand.left()
    assert (await hand.host.start_job("true")).id == "65"


# ── What only one call gets wrong ────────────────────────────────────────────────────────────────


def long_path(hand: LiveHand) -> str:
    """Below the workspace, relative to it: longer than PATH_MAX."""
    below = os.open(hand.workspace, os.O_RDONLY)
    names = ["n" * 250] * 17
    for name in names:
        os.mkdir(name, dir_fd=below)
        below, above = os.open(name, os.O_RDONLY, dir_fd=below), below
        os.close(above)
    os.close(below)
    return "/".join(names)


ODD: dict[str, Callable[[HandHost], Awaitable[object]]] = {
    "no command": lambda host: host.run([]),
    "no shell text": lambda host: host.run(""),
    "an empty name of a command": lambda host: host.run([""]),
    "a NUL in a command": lambda host: host.run(["echo", "\0"]),
    "a NUL in a folder": lambda host: host.run(["true"], cwd="\0"),
    "a NUL in the environment": lambda host: host.run(["true"], env={"A": "\0"}),
    "a variable with a strange name": lambda host: host.run(["true"], env={"A=B": "c", "": "d"}),
    "no time": lambda host: host.run(["true"], timeout=0),
    "negative time": lambda host: host.run(["true"], timeout=-1e300),
    "endless time": lambda host: host.run(["true"], timeout=1e300),
    "an offset beyond every file": lambda host: host.read("file", 1 << 63, 1),
    "an offset just below": lambda host: host.read("file", (1 << 63) - 1, 1),
    "a negative offset": lambda host: host.read("file", -1, 1),
    "a huge limit": lambda host: host.read("file", 0, 1 << 70),
    "a negative limit": lambda host: host.read("file", 0, -1),
    "a path too long to be opened": lambda host: host.read("x" * 5000),
    "a path too long to be listed": lambda host: host.list("x/" * 5000),
    "a path too long to be written": lambda host: host.write("y/" * 5000, b""),
    "a glob that is none": lambda host: host.list(".", "[!"),
    "a list of nothing": lambda host: host.list(".", limit=0),
    "a job without a command": lambda host: host.start_job(""),
    "a job with a NUL": lambda host: host.start_job("\0"),
    "a job of a strange name": lambda host: host.job("../1"),
    "a lone surrogate": lambda host: host.read("\udc80"),
}


async def test_an_odd_call_is_refused_or_done_alone(hand: LiveHand) -> None:
    (hand.workspace / "file").write_bytes(b"content")
    other = asyncio.ensure_future(hand.host.run("sleep 60"))
    for what, call in ODD.items():
        try:
            await call(hand.host)
        except ToolError as error:
            assert "\n" not in str(error), what
        assert not other.done(), what
    found, total = await hand.host.list(".", "**")
    other.cancel()
    assert total == len(found)


async def test_names_longer_than_a_path_may_be_are_listed(hand: LiveHand) -> None:
    deep = long_path(hand)
    other = asyncio.ensure_future(hand.host.run("sleep 60"))
    found, _ = await hand.host.list(".", "**")
    assert deep[:4096] in {entry.path[:4096] for entry in found if len(entry.path) >= 4096}
    assert not other.done()
    other.cancel()


# ── Life and death ───────────────────────────────────────────────────────────────────────────────


async def test_the_death_of_the_hand_ends_its_calls(hand: LiveHand) -> None:
    calls = [asyncio.ensure_future(hand.host.run("echo; sleep 60")) for _ in range(3)]
    await until(lambda: len(hand.left()) >= 3)
    busy = hand.host.busy
    await hand.kill()
    assert busy
    for call in calls:
        with pytest.raises(HandLost, match="gone"):
            await call
    assert not hand.host.here
    assert not hand.host.busy
    with pytest.raises(HandLost):
        await hand.host.run(["true"])
    with pytest.raises(HandLost, match=r"waited 0.01 s"):
        await hand.host.connected(0.01)
    await hand.start()
    assert (await hand.host.run(["true"])).code == 0


async def test_a_stopped_hand_is_taken_for_dead_however_long_its_call_may_take() -> None:
    async with live_hand(patience=0.5, silence=0.2) as hand:
        running = asyncio.ensure_future(hand.host.run("sleep 1; echo fine", timeout=1000))
        assert (await running).code == 0, "silence alone is no death"
        call = asyncio.ensure_future(hand.host.run("sleep 60", timeout=1000))
        await until(lambda: hand.left())
        os.kill(hand.pid, signal.SIGSTOP)
        with pytest.raises(HandLost, match="in time"):
            await call
        os.kill(hand.pid, signal.SIGCONT)
        await hand.host.connected(10)
        assert (await hand.host.run("true")).code == 0
        await until(lambda: not hand.left())


async def test_it_says_when_it_was_used(hand: LiveHand) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    running = asyncio.ensure_future(hand.host.run(["sleep", "0.2"]))
    await asyncio.sleep(0.1)
    busy = hand.host.busy
    assert busy
    assert before <= hand.host.last_used < loop.time()
    await running
    assert not hand.host.busy
    assert hand.host.last_used >= before + 0.2


async def test_a_stale_socket_is_replaced_and_an_impossible_one_said(tmp_path: Path) -> None:
    (tmp_path / "hand.sock").touch()
    host = HandHost(tmp_path / "hand.sock")
    await host.open()
    assert (tmp_path / "hand.sock").stat().st_mode & 0o777 == 0o666
    await host.close()
    assert not (tmp_path / "hand.sock").exists()
    with pytest.raises(SandboxError, match="IPC_BASE_DIR"):
        await HandHost(tmp_path / ("x" * 120) / "hand.sock").open()
