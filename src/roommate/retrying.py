"""Doing something at the homeserver, as soon as it is there for us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roommate.errors import Transient

T = TypeVar("T")

LONGEST_DELAY = 60.0


async def patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Again and again while it is Transient."""
    delay = 1.0
    while True:
        try:
            return await act()
        except Transient as error:
            await asyncio.sleep(error.retry_after or delay)
            delay = min(delay * 2, LONGEST_DELAY)
