"""Who waits for people keeps nobody else from writing."""

from __future__ import annotations

import asyncio

from roommate.tools.yielding_lock import yielding
from tests.patience import PATIENCE


class Clock:
    def __init__(self) -> None:
        self.stopped = False
        self.changed = asyncio.Event()

    async def until(self, *, stopped: bool) -> None:
        while self.stopped is not stopped:
            self.changed.clear()
            await self.changed.wait()

    def set(self, *, stopped: bool) -> None:
        self.stopped = stopped
        self.changed.set()


async def test_a_lock_is_free_while_the_clock_stands_still() -> None:
    lock, clock = asyncio.Lock(), Clock()
    async with asyncio.timeout(PATIENCE):
        async with yielding(lock, clock):
            assert lock.locked()
            clock.set(stopped=True)
            async with lock:  # somebody else writes
                clock.set(stopped=False)
                await asyncio.sleep(0)
            while not lock.locked():
                await asyncio.sleep(0)
        assert not lock.locked()
        async with yielding(lock, clock):
            clock.set(stopped=True)
            while lock.locked():
                await asyncio.sleep(0)
        assert not lock.locked(), "it ends while others may write"
        async with yielding(lock, None):
            assert lock.locked()
        assert not lock.locked()
