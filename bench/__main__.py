"""`scripts/bench`: measures Roommate against baselines of the same run; prints a table and writes JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import (
    aged,
    agents,
    audit,
    broker,
    busy,
    calls,
    encryption,
    hooks,
    idle,
    life,
    mesh,
    models,
    monitoring,
    operating,
    peers,
    turns,
    updates,
)
from bench.stage import Figure, Stage, stage

PARTS: dict[str, Callable[[Stage, int], Awaitable[list[Figure]]]] = {
    "calls": calls.measure,
    "turns": turns.measure,
    "busy": busy.measure,
    "life": life.measure,
    "models": models.measure,
    "idle": idle.measure,
    "operating": operating.measure,
    "monitoring": monitoring.measure,
    "updates": updates.measure,
    "hooks": hooks.measure,
    "broker": broker.measure,
    "agents": agents.measure,
    "audit": audit.measure,
    "encryption": encryption.measure,
    "mesh": mesh.measure,
    "peers": peers.measure,
    "aged": aged.measure,
}


async def run(parts: list[str], rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    async with stage() as built:
        for name in parts:
            figures += await PARTS[name](built, rounds)
    return figures


def show(figures: list[Figure]) -> None:
    table = Table("what", "median", "p95", "ratio", "goal", title="Roommate, measured here and now")
    for item in figures:
        mark = {True: " ✔", False: " ✘", None: ""}[item.met]
        ratio = f"{item.ratio:.2f} × {item.baseline}" if item.ratio is not None else ""
        p95 = f"{item.p95:.1f}" if item.p95 is not None else ""
        table.add_row(item.name, f"{item.value:.1f} {item.unit}", p95, ratio, item.goal + mark)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="samples of the quick ones")
    parser.add_argument("--json", type=Path, default=Path("bench/results/latest.json"), help="where the figures go")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts (default: all)")
    arguments = parser.parse_args()
    figures = asyncio.run(run(arguments.parts or list(PARTS), arguments.rounds))
    show(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "figures": [asdict(item) for item in figures],
    }
    arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
