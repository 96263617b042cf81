"""How long a test waits before it says that something does not come: one scale for all of them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds: far more than anything here takes. A test that passes never waits for them, on however busy a machine."""
OF_DAEMONS = 8.0
"""How many times longer than usual a daemon that is tested gives the host's programs: its setting PATIENCE."""


@overload
async def until(look: Callable[[], Coroutine[Any, Any, T]], what: str = ..., *, every: float = ...) -> T: ...
@overload
async def until(look: Callable[[], T], what: str = ..., *, every: float = ...) -> T: ...


async def until(look: Callable[[], Any], what: str = "it", *, every: float = 0.01) -> Any:
    """Look again and again until it gives something true, and return that. `every` in seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look()
        seen = await found if inspect.isawaitable(found) else found
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}, and there is {seen!r}"
        await asyncio.sleep(every)
