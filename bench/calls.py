"""A tool call into a room's container: through the hand, beside a raw fork+exec outside and `podman exec`."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.stage import Figure, Stage, figure
from roommate.config import Settings
from roommate.daemon import sandboxes_of
from roommate.ports import Hand
from roommate.sandbox.rooms import RoomSandboxes
from roommate.words import RoomId
from tests.sandbox_image import containers

STREAM = 100_000_000
AT_ONCE = 50
ROOM = RoomId("!bench")

Call = Callable[[], Awaitable[object]]


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(matrix_user="@bench:localhost", state_dir=Path(folder), sandbox_image=stage.image)
        sandboxes = sandboxes_of(settings)
        try:
            return await _measure(sandboxes, Path(folder), rounds)
        finally:
            await sandboxes.reset_workspace(ROOM)
            await sandboxes.close()


async def _measure(sandboxes: RoomSandboxes, state: Path, rounds: int) -> list[Figure]:
    async def through_the_hand() -> None:
        await (await sandboxes.hand(ROOM)).run(["true"])

    async def podman_exec() -> None:
        process = await asyncio.create_subprocess_exec("podman", "exec", name, "true")
        assert await process.wait() == 0

    async def fork_and_exec() -> None:
        os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)

    await through_the_hand()
    [name] = containers(state)
    raw, hand = await _take_turns([fork_and_exec, through_the_hand], rounds * 5)
    [execs] = await _take_turns([podman_exec], max(5, rounds // 4))
    at_once = await _timed(lambda: asyncio.gather(*(through_the_hand() for _ in range(AT_ONCE))))
    stream = await _timed(_stream(await sandboxes.hand(ROOM)))
    baseline, call, slow = (
        figure("raw fork+exec", raw),
        figure("tool call through the hand", hand),
        figure("`podman exec`", execs),
    )
    return [
        baseline,
        replace(call, baseline=baseline.name, ratio=call.value / baseline.value),
        replace(slow, baseline=call.name, ratio=slow.value / call.value),
        figure(f"{AT_ONCE} calls at once", [at_once]),
        figure("100 MB of output", [stream]),
    ]


def _stream(hand: Hand) -> Call:
    async def stream() -> None:
        count = 0

        def take(piece: bytes) -> None:
            nonlocal count
            count += len(piece)

        await hand.run(["head", "-c", str(STREAM), "/dev/zero"], on_output=take)
        assert count == STREAM

    return stream


async def _take_turns(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Seconds of each call; they alternate, so that all see the same machine."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, samples, strict=True):
            taken.append(await _timed(call))
    return samples


async def _timed(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began
