"""Memory that was needed for a while goes back to the system: the C library keeps it in case we want it again."""

from __future__ import annotations

import asyncio
import ctypes
import resource
from pathlib import Path

LOOK_SECONDS = 5.0
WORTH = 16 << 20
"""Bytes by which we have grown at which it is looked whether all of them are needed: that takes milliseconds."""


AGAIN = {0, *(2**n for n in range(8))}
"""Looks after one that found us grown at which memory is given back: what is freed later is not seen from outside,
and where there is nothing it costs next to nothing."""


async def give_back(every: float = LOOK_SECONDS) -> None:
    """Look every so many seconds, until cancelled; ends at once where the C library lacks glibc's malloc_trim(3)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    least, looks = _resident(), max(AGAIN)
    while True:
        await asyncio.sleep(every)
        looks = 0 if _resident() > least + WORTH else looks + 1
        if looks in AGAIN:
            await asyncio.to_thread(trim, 0)
            least = _resident()
        least = min(least, _resident())


def _resident() -> int:
    """Bytes, as in proc(5)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
