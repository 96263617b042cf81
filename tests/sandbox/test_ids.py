"""Each room has user ids of its own: what the kernel counts by user is no way from one room to another."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from roommate.domain import Hand, RoomId
from roommate.sandbox import id_ranges, inotify_limit_per_room
from roommate.sandbox.container_spec import IDS, USER
from roommate.sandbox.room_containers import RoomSandboxes
from tests.sandbox.conftest import ROOM, SCARCE, Make, sh

QUIET = RoomId("!quiet:example.org")

HOLD_PIPES = """
import os, time
kept = []
try:
    while len(kept) < 9000:
        kept.append(os.pipe())
except OSError:
    pass
print(len(kept), flush=True)
time.sleep(1000)
"""
HOLD_INOTIFY = """
import ctypes, time
libc, taken = ctypes.CDLL(None), 0
while taken < 100_000 and libc.inotify_init1(0) >= 0:
    taken += 1
print(taken, flush=True)
time.sleep(1000)
"""
HOLD_SIGNALS = """
import ctypes, os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {40})
libc, taken = ctypes.CDLL(None), 0
while taken < 1_000_000 and libc.sigqueue(os.getpid(), 40, None) == 0:
    taken += 1
print(taken, flush=True)
time.sleep(1000)
"""
HOLD_TERMINALS = """
import os, time
kept = []
try:
    while len(kept) < 5000:
        kept.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    pass
print(len(kept), flush=True)
time.sleep(1000)
"""
LOOK = """
import ctypes, fcntl, os, signal
libc = ctypes.CDLL(None)
try:
    terminal = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) > 0
except OSError:
    terminal = False
signal.pthread_sigmask(signal.SIG_BLOCK, {40})
signals = [libc.sigqueue(os.getpid(), 40, None) == 0 for _ in range(9)]
print(fcntl.fcntl(os.pipe()[1], 1032), libc.inotify_init1(0) >= 0, all(signals), terminal)
"""  # F_GETPIPE_SZ


def learn(place: Path, **of_host: object) -> dict[str, int]:
    """Change what is known of this host."""
    kept = json.loads((place / "state" / "host.json").read_text())
    kept["host"] |= of_host
    (place / "state" / "host.json").write_text(json.dumps(kept))
    found: dict[str, int] = kept["host"]
    return found


async def first_id(hand: Hand) -> int:
    return int((await sh(hand, "cat /proc/self/uid_map")).text.split()[1])


def folder(place: Path) -> Path:
    (found,) = (place / "state" / "rooms").iterdir()
    return found


def owners(place: Path) -> set[int]:
    top = folder(place) / "files"
    return {
        path.lstat().st_uid
        for part in ("workspace", "home", "spool")
        for path in (top / part, *(top / part).rglob("*"))
    }


async def printed(hand: Hand, script: str) -> tuple[asyncio.Task[object], str]:
    """Start a program that stays; gives the first that it prints."""
    said = asyncio.get_running_loop().create_future()

    def hear(text: bytes) -> None:
        if not said.done():
            said.set_result(text.decode())

    await hand.write("/tmp/attack.py", script.encode())
    task = asyncio.create_task(hand.run("exec python3 /tmp/attack.py", timeout=1000, on_output=hear))
    return task, await said


async def test_a_room_cannot_use_up_what_the_kernel_gives_another(lodge: RoomSandboxes) -> None:
    noisy, quiet = await lodge.hand(ROOM), await lodge.hand(QUIET)
    before = (await sh(quiet, f"python3 -c '{LOOK}'")).text
    pipes, taken_pipes = await printed(noisy, HOLD_PIPES)
    inotify, taken = await printed(noisy, HOLD_INOTIFY)
    signals, taken_signals = await printed(noisy, HOLD_SIGNALS)
    terminals, taken_terminals = await printed(noisy, HOLD_TERMINALS)
    try:
        soft = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
        assert int(taken_pipes) * 16 >= soft, "enough for the kernel to shrink the next ones of this user"
        assert int(taken) <= inotify_limit_per_room.of_a_room()["max_inotify_instances"]
        assert (await sh(quiet, f"python3 -c '{LOOK}'")).text == before == "65536 True True True\n"
        assert (await sh(noisy, f"python3 -c '{LOOK}'")).text == "8192 False False False\n", "it pays itself"
        assert 0 < int(taken_signals) <= 4096
        assert 0 < int(taken_terminals) <= 256
        looked_at = {"inotify", "epoll", "user namespace"}
        assert {check.what for check in await lodge.check() if not check.ok} & looked_at == SCARCE
    finally:
        for task in (pipes, inotify, signals, terminals):
            task.cancel()
        await asyncio.gather(pipes, inotify, signals, terminals, return_exceptions=True)


async def test_rooms_have_ids_of_their_own_and_keep_them(make: Make, place: Path) -> None:
    sandboxes = make()
    one, other = [await first_id(await sandboxes.hand(room)) for room in (ROOM, QUIET)]
    assert abs(one - other) >= IDS and one % IDS == other % IDS == learn(place)["first_id"] % IDS
    await (await sandboxes.hand(QUIET)).write("/workspace/file", b"mine")
    await sandboxes.leave(ROOM)
    await sandboxes.reset_workspace(ROOM)
    assert await sandboxes.move(QUIET, ROOM)
    assert await first_id(await sandboxes.hand(ROOM)) == other, "they go with the files"
    assert owners(place) == {other + USER}
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"changed")


async def test_rooms_of_before_get_theirs_when_they_start_again(make: Make, place: Path) -> None:
    ranges = learn(place)["ranges"]
    shared = learn(place, ranges=1)["first_id"]
    before = make()
    hand = await before.hand(ROOM)
    assert await first_id(hand) == shared
    await sh(hand, "mkdir -p deep/er && touch deep/er/file && chmod 0 deep/er && ln -s / link && echo kept >file")
    await hand.start_job("sleep 1000")
    await before.close()

    learn(place, ranges=ranges)
    after = make()
    await after.reconcile([ROOM])
    hand = await after.hand(ROOM)
    assert [job.exit for job in await hand.jobs()] == [None], "what runs goes on"
    assert await first_id(hand) == shared
    assert (await sh(hand, "stat -c %u /run/hooks/wrapper")).text == "0\n"
    await after.stop(ROOM)
    hand = await after.hand(ROOM)
    mine = await first_id(hand)
    assert mine > shared
    assert owners(place) == {mine + USER}
    assert Path("/").stat().st_uid == 0, "links are not followed"
    assert (await sh(hand, "stat -c %u /run/hooks/wrapper")).text == "0\n"
    said = await sh(hand, "cat file && echo changed >file && chmod 700 deep/er && rm -r deep && echo done")
    assert said.text == "kept\ndone\n"


async def test_a_daemon_that_was_killed_while_it_gave_files_goes_on(make: Make, place: Path) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    mine = await first_id(hand)
    await sh(hand, "mkdir folder && touch folder/file")
    workspace = folder(place) / "files" / "workspace"
    for last in (workspace, workspace / "folder"):
        os.chown(last, 1_000_001_000, 1_000_001_000)
    await sandboxes.stop(ROOM)
    hand = await sandboxes.hand(ROOM)
    assert await first_id(hand) == mine
    assert owners(place) == {mine + USER}
    assert (await sh(hand, "rm -r folder && echo done")).text == "done\n"


async def test_where_ranges_end_rooms_share_one(make: Make, place: Path) -> None:
    shared = learn(place, ranges=2)["first_id"]
    sandboxes = make()
    found = [await first_id(await sandboxes.hand(RoomId(f"!{number}:x"))) for number in range(3)]
    assert found == [shared + IDS, shared, shared]


@pytest.mark.parametrize(
    ("instances", "watched", "epoll", "shared", "wrong"),
    [
        (4096, 1_000_000, 5_000_000, False, []),
        (128, 1_000_000, 5_000_000, False, ["inotify"]),
        (4096, 8192, 5_000_000, False, ["inotify"]),
        (4096, 1_000_000, 5_000_000, True, ["epoll"]),
        (4096, 1_000_000, 1000, False, ["epoll"]),
    ],
)
def test_doctor_looks_at_what_the_host_gives(
    tmp_path: Path, instances: int, watched: int, epoll: int, shared: bool, wrong: list[str]
) -> None:
    given = {
        "inotify/max_user_instances": instances,
        "inotify/max_user_watches": watched,
        "epoll/max_user_watches": epoll,
    }
    for name, number in given.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{number}\n")
    checks = inotify_limit_per_room.examine(shared=shared, host=tmp_path)
    assert [check.what for check in checks if not check.ok] == wrong
    assert all("sysctl -w fs." in check.mend or "as root" in check.mend for check in checks)


def test_a_room_may_have_a_part_of_what_the_host_gives(tmp_path: Path) -> None:
    for instances, watched, of_room in (
        (128, 8192, (16, 8192)),
        (800, 400_000, (100, 50_000)),
        (9999, 1 << 30, (128, 1 << 17)),
    ):
        (tmp_path / "max_inotify_instances").write_text(f"{instances}")
        (tmp_path / "max_inotify_watches").write_text(f"{watched}")
        assert tuple(inotify_limit_per_room.of_a_room(tmp_path).values()) == of_room


def test_how_many_ids_somebody_was_given(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text(f"# no\nme:100000:65536\nother:165536:65536\n{os.getuid()}:300000:1000\n")
    assert id_ranges.given_to("me", tmp_path / "subuid") == 66_536
    assert id_ranges.given_to("me", tmp_path / "nothing") == 0
