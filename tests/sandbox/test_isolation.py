"""Two rooms side by side: neither sees nor hurts the other, whatever it does."""

from __future__ import annotations

import asyncio
import time

from roommate.words import RoomId
from tests.sandbox.conftest import ROOM, SMALL, Make, sh

OTHER = RoomId("!other:example.org")


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
    bomb = asyncio.create_task(sh(one, "bomb() { bomb | bomb & }; bomb; sleep 60", timeout=2))
    await asyncio.sleep(0.5)
    started = time.monotonic()
    assert (await sh(other, "echo fine")).text == "fine\n"
    assert time.monotonic() - started < 5
    assert (await bomb).exit.timed_out
    count = await sh(await sandboxes.hand(ROOM), "ps aux | wc -l")
    assert count.exit.code == 0
    assert int(count.text) < 20, "the bomb still runs"


async def test_the_workspace_has_an_end_and_recovers(make: Make) -> None:
    sandboxes = make()
    one, other = await asyncio.gather(sandboxes.hand(ROOM), sandboxes.hand(OTHER))
    full = await sh(one, f"head -c {SMALL.workspace_mb * 2}M /dev/zero > big")
    assert full.exit.code == 1
    assert "No space left on device" in full.text
    assert (await sh(other, "head -c 1M /dev/zero > small && echo fine")).text == "fine\n"
    assert (await sh(one, "rm big && echo recovered > file && cat file")).text == "recovered\n"
