"""How long a test waits before it says that something does not come: one scale for all of them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds: far more than anything here takes. A test that passes never waits for them, on however busy a machine."""


async def until(look: Callable[[], T | Awaitable[T]], what: str = "it", *, every: float = 0.01) -> T:
    """Look again and again until it gives something true, and return that. `every` in seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look()
        seen: T = await found if inspect.isawaitable(found) else found
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}, and there is {seen!r}"
        await asyncio.sleep(every)
