"""The hand without a container: what its stream and its two programs cost beyond starting a process."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.live_hand import LiveHand, live_hand

STREAM = 100_000_000
AT_ONCE = 50


async def measure(rounds: int) -> dict[str, float]:
    """Times in ms (medians, ``_p95`` where it says so), memory in MB. Raw and hand take turns, so that both see the
    same machine."""
    raw, popen, hand_runs = [], [], []
    async with live_hand() as hand:
        for _ in range(rounds):
            began = time.perf_counter()
            os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)
            raw.append(time.perf_counter() - began)
            began = time.perf_counter()
            subprocess.run(["true"], check=True, stdout=subprocess.PIPE)
            popen.append(time.perf_counter() - began)
            began = time.perf_counter()
            await hand.host.run(["true"])
            hand_runs.append(time.perf_counter() - began)
        idle = _memory(hand)
        began = time.perf_counter()
        await asyncio.gather(*(hand.host.run(["true"]) for _ in range(AT_ONCE)))
        at_once = time.perf_counter() - began
        count = 0

        def take(piece: bytes) -> None:
            nonlocal count
            count += len(piece)

        began = time.perf_counter()
        await hand.host.run(["head", "-c", str(STREAM), "/dev/zero"], on_output=take)
        stream = time.perf_counter() - began
        assert count == STREAM
        busy = _memory(hand)
        dials = []
        for _ in range(max(3, rounds // 20)):
            await hand.kill()
            await hand.host.lost.wait()
            began = time.perf_counter()
            await hand.start()
            dials.append(time.perf_counter() - began)
    return {
        "fork+exec": _ms(raw),
        "fork+exec_p95": _p95(raw),
        "subprocess.run": _ms(popen),
        "subprocess.run_p95": _p95(popen),
        "hand": _ms(hand_runs),
        "hand_p95": _p95(hand_runs),
        "hand_beyond_fork+exec": _ms(hand_runs) - _ms(raw),
        f"{AT_ONCE}_at_once": at_once * 1000,
        "100_MB": stream * 1000,
        "dial_in": _ms(dials),
        "memory_idle_MB": idle,
        "memory_after_100_MB": busy,
    }


def _ms(samples: list[float]) -> float:
    return statistics.median(samples) * 1000


def _p95(samples: list[float]) -> float:
    return sorted(samples)[int(len(samples) * 0.95)] * 1000


def _memory(hand: LiveHand) -> float:
    status = Path(f"/proc/{hand.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    for name, value in asyncio.run(measure(rounds)).items():
        print(f"{name:24} {value:8.2f}")


if __name__ == "__main__":
    main()
