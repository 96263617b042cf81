"""A lock that is let go of while people decide what its holder waits for: others need not wait for them, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from roommate.domain import Clock


@asynccontextmanager
async def yielding(lock: asyncio.Lock, clock: Clock | None) -> AsyncIterator[None]:
    """Hold `lock`, but for the time that `clock` stands still. What goes on then may find that others were there: it is
    for those alone who can."""
    holds = True

    async def hand_over(clock: Clock) -> None:
        nonlocal holds
        while True:
            await clock.until(stopped=True)
            holds = False
            lock.release()
            await clock.until(stopped=False)
            await lock.acquire()
            holds = True

    await lock.acquire()
    handing = asyncio.create_task(hand_over(clock), name="hand over a lock") if clock else None
    try:
        yield
    finally:
        if handing is not None:
            handing.cancel()
            await asyncio.wait([handing])
        if holds:
            lock.release()
