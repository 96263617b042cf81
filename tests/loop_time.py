"""How long the event loop is held up by one thing: what all other rooms wait for."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

AT_ONCE = 0.05
"""Seconds of processor time: more than this no callback takes, whatever a room sends."""


@dataclass(slots=True)
class Loop:
    longest: float = 0.0
    """Seconds of processor time, which other processes do not lengthen, of the callback that took most."""
    wrong: list[dict[str, Any]] = field(default_factory=list)
    """What was raised where nobody waited for it, as a loop's exception handler is told of it."""


@contextmanager
def watched() -> Iterator[Loop]:
    """Watch the running loop. What Python tidies up now and then is the test's own heap, and not counted."""
    seen = Loop()
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        seen.longest = max(seen.longest, time.thread_time() - began)

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        loop.set_exception_handler(lambda _, context: seen.wrong.append(context))
        gc.disable()
        try:
            yield seen
        finally:
            gc.enable()
            loop.set_exception_handler(before)
