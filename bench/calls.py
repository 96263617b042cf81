"""A tool call into a room's container, by a command or its shell, beside a raw fork+exec outside and `podman exec`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bench.stage import ROOM, Call, Figure, Stage, beside, figure, sandboxes, take_turns, timed
from roommate.domain import Hand
from roommate.sandbox.room_containers import RoomSandboxes
from tests.sandbox_image import containers

STREAM = 100_000_000
AT_ONCE = 50


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    async with sandboxes(stage.image) as (rooms, state):
        return await _measure(rooms, state, rounds)


async def _measure(rooms: RoomSandboxes, state: Path, rounds: int) -> list[Figure]:
    async def through_the_hand() -> None:
        await (await rooms.hand(ROOM)).run(["true"])

    async def through_the_shell() -> None:
        assert (await (await rooms.hand(ROOM)).shell("true", timeout=60)).code == 0

    async def podman_exec() -> None:
        process = await asyncio.create_subprocess_exec("podman", "exec", name, "true")
        assert await process.wait() == 0

    async def fork_and_exec() -> None:
        os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)

    await through_the_hand()
    [name] = containers(state)
    await through_the_shell()
    raw, hand, shell = await take_turns([fork_and_exec, through_the_hand, through_the_shell], rounds * 5)
    [execs] = await take_turns([podman_exec], max(5, rounds // 4))
    at_once = await timed(lambda: asyncio.gather(*(through_the_hand() for _ in range(AT_ONCE))))
    stream = await timed(_stream(await rooms.hand(ROOM)))
    baseline, call, slow = (
        figure("raw fork+exec", raw),
        figure("tool call through the hand", hand),
        figure("`podman exec`", execs),
    )
    return [
        baseline,
        beside(call, baseline),
        beside(slow, call),
        beside(figure("call of the room's shell", shell), call),
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
