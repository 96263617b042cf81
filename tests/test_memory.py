"""What was used for a while is not kept for good."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from roommate.host.malloc_trim import give_back
from tests.patience import until

MIB = 1 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_what_is_free_between_what_is_used_goes_back() -> None:
    giving = asyncio.ensure_future(give_back(every=0.01))
    await asyncio.sleep(0)
    before = resident()
    kept = [bytearray(b"x" * 100_000) for _ in range(1500)]
    kept = [piece for number, piece in enumerate(kept) if number % 100 == 99]
    await until(lambda: resident() < before + 40 * MIB, "the memory to be given back")
    giving.cancel()
    assert sum(map(len, kept)) == 1_500_000


async def test_what_becomes_free_when_it_has_been_looked_at_goes_back_too() -> None:
    giving = asyncio.ensure_future(give_back(every=0.02))
    await asyncio.sleep(0)
    before = resident()
    kept = [bytearray(b"x" * 100_000) for _ in range(1500)]
    await asyncio.sleep(0.2)  # all of it was in use when it was looked at
    kept = [piece for number, piece in enumerate(kept) if number % 100 == 99]
    await until(lambda: resident() < before + 40 * MIB, "the memory to be given back")
    giving.cancel()
    assert sum(map(len, kept)) == 1_500_000
