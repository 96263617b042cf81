"""Two rooms side by side: neither sees nor hurts the other, whatever it does."""

from __future__ import annotations

import asyncio
import contextlib

from roommate.domain import RoomId
from roommate.errors import ToolError
from tests.patience import PATIENCE, until
from tests.sandbox.conftest import ROOM, SMALL, Make, sh

OTHER = RoomId("!other:example.org")
BOMB = b"""
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(1000)
    except OSError:
        time.sleep(0.001)
"""


async def test_neither_sees_the_other(make: Make) -> None:
    sandboxes = make()
    one, other = await asyncio.gather(sandboxes.hand(ROOM), sandboxes.hand(OTHER))
    await one.write("/workspace/mine", b"secret")
    await one.write("/home/room/mine", b"secret")
    await one.run("echo secret > /tmp/mine; echo secret > /dev/shm/mine")
    job = await one.start_job("exec sleep 4242")
    await one.start_job("exec python3 -m http.server --bind 127.0.0.1 8000")
    assert (await sh(other, "cat /workspace/mine /home/room/mine /tmp/mine /dev/shm/mine")).exit.code == 1
    assert "4242" in (await sh(one, "ps aux")).text
    assert "4242" not in (await sh(other, "ps aux")).text
    assert (await sh(one, "curl -s --retry 20 --retry-connrefused --retry-delay 1 127.0.0.1:8000")).exit.code == 0
    assert (await sh(other, "curl -s 127.0.0.1:8000")).exit.code == 7  # connection refused
    assert (await one.job(job.id)).exit is None


async def test_a_memory_hog_dies_alone(make: Make) -> None:
    sandboxes = make()
    one, other = await asyncio.gather(sandboxes.hand(ROOM), sandboxes.hand(OTHER))
    hog = f"python3 -c 'x = bytearray({SMALL.memory_mb * 2} << 20); print(len(x))'"
    hogging, beside = await asyncio.gather(sh(one, hog), sh(other, "echo fine"))
    assert hogging.exit.signal == 9 or hogging.exit.code == 137
    assert hogging.exit.out_of_memory
    assert beside.text == "fine\n"
    again = await sandboxes.hand(ROOM)
    assert (await sh(again, "echo works")).text == "works\n"


async def test_a_fork_bomb_stays_in_its_room(make: Make) -> None:
    sandboxes = make()
    one, other = await asyncio.gather(sandboxes.hand(ROOM), sandboxes.hand(OTHER))
    bomb = asyncio.create_task(sh(one, "bomb() { bomb | bomb & }; bomb; sleep 600"))
    await asyncio.sleep(0.5)
    assert (await sh(other, "echo fine")).text == "fine\n"
    assert not bomb.done()
    bomb.cancel()
    await asyncio.wait([bomb])

    async def over() -> bool:
        with contextlib.suppress(ToolError):  # too many processes, still
            said = await sh(await sandboxes.hand(ROOM), "ps aux | wc -l")
            return said.exit.code == 0 and int(said.text.splitlines()[-1]) < 20
        return False

    await until(over, "the end of the bomb")


async def test_a_bomb_left_behind_gives_way_to_the_next_call(make: Make) -> None:
    hand = await make().hand(ROOM)
    job = await hand.start_job("sleep 1000 & wait")
    beside = asyncio.create_task(sh(hand, "for i in $(seq 30); do sleep 0.1 || true; done; echo done"))
    await hand.write("/workspace/bomb.py", BOMB)
    # It leaves session and parent, and its environment has no mark: nothing says whose it is.
    await sh(hand, "env -i setsid python3 bomb.py >/dev/null 2>&1 & sleep 0.5")
    said = [await sh(hand, "echo works") for _ in range(20)]
    assert {(one.exit.code, one.text.splitlines()[-1]) for one in said} == {(0, "works")}
    assert sum("left behind were ended" in one.text for one in said) == 1
    assert (await hand.job(job.id)).exit is None
    assert (await beside).text.endswith("done\n")


async def test_a_bomb_that_runs_still_holds_nobody_up_for_long(make: Make) -> None:
    hand = await make().hand(ROOM)
    bomb = asyncio.create_task(sh(hand, "bomb() { bomb | bomb & }; bomb; sleep 60", timeout=3))
    await asyncio.sleep(1)
    async with asyncio.timeout(PATIENCE):
        try:
            await hand.run("true")
        except ToolError as problem:
            assert "too many processes" in str(problem)
    assert (await bomb).exit.timed_out
    assert (await sh(hand, "echo works")).text.endswith("works\n")


async def test_the_workspace_has_an_end_and_recovers(make: Make) -> None:
    sandboxes = make()
    one, other = await asyncio.gather(sandboxes.hand(ROOM), sandboxes.hand(OTHER))
    full = await sh(one, f"head -c {SMALL.workspace_mb * 2}M /dev/zero > big")
    assert full.exit.code == 1
    assert "No space left on device" in full.text
    assert (await sh(other, "head -c 1M /dev/zero > small && echo fine")).text == "fine\n"
    assert (await sh(one, "rm big && echo recovered > file && cat file")).text == "recovered\n"
