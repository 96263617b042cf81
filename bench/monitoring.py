"""What it costs to be watched: a count where something happens, a look at `/health`, a scrape of `/metrics`."""

from __future__ import annotations

import time

import aiohttp

from bench.stage import Figure, Stage, figure, timed
from roommate.demo.synapse_config import free_port
from roommate.domain import Stop, Usage
from roommate.monitoring.counts import CONVERSATION, Counts

MANY = 20_000


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    port = free_port()
    daemon = await stage.daemon(start=False)
    daemon.settings["HTTP_LISTEN"] = str(port)
    await daemon.start()
    await stage.warm_room(daemon)
    figures = [figure("counts of a model call and of a tool call", _counting(rounds), "µs", goal=10)]
    async with aiohttp.ClientSession() as session:
        for path, goal in (("/health", 20), ("/metrics", 20)):
            url = f"http://127.0.0.1:{port}{path}"

            async def ask(url: str = url) -> None:
                async with session.get(url) as answer:
                    assert answer.status == 200
                    await answer.read()

            await ask()
            figures.append(figure(f"GET {path}", [await timed(ask) for _ in range(rounds)], goal=goal))
    return figures


def _counting(rounds: int) -> list[float]:
    counts, usage, samples = Counts(), Usage(1000, 100, 0.01), []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(MANY):
            counts.model("openai/gpt-4o-mini", "ok", 1.5)
            counts.spent("openai/gpt-4o-mini", usage, CONVERSATION)
            counts.tool("run_command", "ok", 0.01)
        samples.append((time.thread_time() - began) / MANY * 1e6)
        counts.turn(Stop.DONE, 2.0)
    return samples
