"""What was begun is done, whoever gives up waiting for it."""

from __future__ import annotations

import asyncio

import pytest

from roommate.errors import NotFound
from roommate.rooms.retrying import to_the_end


async def test_who_hangs_up_does_not_end_what_was_decided() -> None:
    begun, may_end, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await may_end.wait()
        done.set()
        return "done"

    asks = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    asks.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asks
    may_end.set()
    async with asyncio.timeout(20):
        await done.wait()


async def test_what_it_gives_and_raises_reaches_who_waits() -> None:
    async def works() -> int:
        return 7

    async def fails() -> int:
        raise NotFound("no such card")

    assert await to_the_end(works()) == 7
    with pytest.raises(NotFound, match="no such card"):
        await to_the_end(fails())
