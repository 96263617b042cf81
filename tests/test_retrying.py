"""What was begun is done, whoever gives up waiting for it; what is away is asked again."""

from __future__ import annotations

import asyncio

import pytest

from roommate.errors import NotFound, Transient
from roommate.net.retrying import patiently, to_the_end


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


async def test_what_is_away_for_a_while_is_asked_again_until_somebody_has_enough() -> None:
    asked: list[float] = []

    async def away() -> int:
        asked.append(0.0)
        if len(asked) < 3:
            raise Transient("away", retry_after=0.01)
        return 7

    def gives_up(error: Transient, delay: float) -> bool:
        asked[-1] = delay
        return len(asked) == 2 and enough

    enough = False
    assert await patiently(away, gives_up=gives_up) == 7
    assert asked == [0.01, 0.01, 0.0]
    asked.clear()
    enough = True
    with pytest.raises(Transient, match="away"):
        await patiently(away, gives_up=gives_up)
    assert len(asked) == 2
