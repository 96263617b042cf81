"""Time limits where a task is cancelled already."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

import pytest

from roommate.host import deadlines


async def test_a_limit_holds_in_the_cleanup_of_a_cancelled_task() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            try:
                async with deadlines.within(0.01):
                    await asyncio.sleep(100)
            except TimeoutError:
                ended.append("in time")

    await _cancelled(work())
    assert ended == ["in time"]


async def test_a_cancel_within_a_limit_is_a_cancel() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with deadlines.within(100):
            entered.set()
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_cancel_in_the_cleanup_counts_before_its_limit() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            task = asyncio.current_task()
            assert task is not None
            async with deadlines.at(asyncio.get_running_loop().time()):
                task.cancel()
                await asyncio.sleep(100)

    task = await _cancelled(work())
    assert task.cancelled()


async def _cancelled(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task
