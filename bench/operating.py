"""The command line of a running daemon: how long an operator waits for `roommate status`, beside a bare Python."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace

from bench.stage import Figure, Stage, figure
from tests.harness import ROOMMATE, no_settings


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    daemon = await stage.daemon(scripted=False)
    environment = no_settings() | daemon.settings
    bare, status, rooms = [], [], []
    for _ in range(rounds):
        bare.append(await _wall([sys.executable, "-c", "pass"], environment))
        status.append(await _wall([str(ROOMMATE), "status"], environment))
        rooms.append(await _wall([str(ROOMMATE), "rooms", "ls"], environment))
    baseline = figure("a Python that does nothing", bare)
    found = figure("`roommate status`", status, goal=150), figure("`roommate rooms ls`", rooms)
    return [baseline, *(replace(one, baseline=baseline.name, ratio=one.value / baseline.value) for one in found)]


async def _wall(command: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
    return time.monotonic() - began
