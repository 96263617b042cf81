"""Doing something whatever happens meanwhile: the homeserver is away, or who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from roommate.errors import Transient

T = TypeVar("T")

LONGEST_DELAY = 60.0

_on_their_way: set[asyncio.Task[Any]] = set()
"""The event loop itself holds no task."""


async def patiently(
    act: Callable[[], Awaitable[T]],
    *,
    gives_up: Callable[[Transient, float], bool] = lambda error, delay: False,
    longest: float = LONGEST_DELAY,
) -> T:
    """Again and again while it is Transient, after a second, then two, four, up to `longest`, or what the error says.
    `gives_up` is told of the error and the delay, and whether it is to be raised."""
    delay = 1.0
    while True:
        try:
            return await act()
        except Transient as error:
            wait = error.retry_after or delay
            if gives_up(error, wait):
                raise
            await asyncio.sleep(wait)
            delay = min(delay * 2, longest)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """It goes on when who waits for it is cancelled; what it raises then is told to nobody."""
    task = asyncio.create_task(work)
    _on_their_way.add(task)
    task.add_done_callback(_on_their_way.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)
