"""What a daemon costs that nobody asks anything: how often its threads, and what it started, are woken in a second."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.stage import Figure, Stage, figure
from roommate.sandbox.podman_client import IDLE_SECONDS
from tests.harness import marked_processes
from tests.sandbox_image import podman

SETTLE_SECONDS = 15
"""From the end of Podman's service, which is the last thing that is done after a turn."""

SECONDS = 30
MOST_WAKE_UPS = 5
"""A second, for the daemon with a container."""


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    daemon = await stage.daemon()
    await stage.warm_room(daemon)
    await asyncio.sleep(IDLE_SECONDS + SETTLE_SECONDS)
    names = {pid: "the daemon" if pid == daemon.pid else "its children" for pid in marked_processes(daemon.mark)}
    for container in daemon.containers():
        monitor, first = podman("inspect", "--format", "{{.State.ConmonPid}} {{.State.Pid}}", container).split()
        names[int(monitor)] = "the container's monitor"
        names |= dict.fromkeys([int(first), *_descendants(int(first))], "the container's processes")
    before, cpu, began = _sum(names, wake_ups), _sum(names, cpu_seconds), time.monotonic()
    await asyncio.sleep(SECONDS)
    seconds = time.monotonic() - began
    woken = {name: (count - before[name]) / seconds for name, count in _sum(names, wake_ups).items()}
    busy = (_sum(names, cpu_seconds)["the daemon"] - cpu["the daemon"]) / seconds
    each = [figure(f"wake-ups of {name}", [count], "/s") for name, count in sorted(woken.items())]
    return [
        *each,
        figure("wake-ups of all that, idle with one container", [sum(woken.values())], "/s", goal=MOST_WAKE_UPS),
        figure("CPU of the idle daemon", [busy * 100], "%"),
    ]


def wake_ups(pid: int) -> int:
    """How often the threads of a process have waited for something and then been woken, all its life."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sum(names: dict[int, str], count: Callable[[int], float]) -> dict[str, float]:
    total = dict.fromkeys(names.values(), 0.0)
    for pid, name in names.items():
        total[name] += count(pid)
    return total


def _descendants(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from _descendants(int(child))
