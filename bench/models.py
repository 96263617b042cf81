"""What asking a model costs the daemon: by our own wire, beside the same through LiteLLM."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.stage import Figure, Stage, beside, figure

ROUNDS = (12, 100, 300)
"""Of a turn: a call of a tool and its result each."""


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    # Each in a process of its own: one of them imports what the other is to do without.
    ways = {way: await asyncio.to_thread(_measured, stage.model.url, way, rounds) for way in ("LiteLLM", "own wire")}
    figures: list[Figure] = []
    for count in ROUNDS:
        baseline, ours = (
            figure(f"CPU of a model call with {count} rounds of history, {way}", ways[way][str(count)]) for way in ways
        )
        figures += [baseline, beside(ours, baseline, most=0.5)]
    for what, unit in (("first reply of a process", "ms"), ("memory of that process", "MiB")):
        baseline, ours = (figure(f"{what}, {way}", ways[way][what], unit) for way in ways)
        figures += [baseline, beside(ours, baseline, most=0.5)]
    return figures


def _measured(url: str, way: str, rounds: int) -> dict[str, list[float]]:
    program = [sys.executable, "-m", "bench.models", url, way, f"{rounds}"]
    found = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, check=True, text=True)
    samples: dict[str, list[float]] = json.loads(found.stdout)
    return samples


async def _main(url: str, way: str, rounds: int) -> None:
    import time

    from roommate.agent.provider_model import ProviderModel
    from roommate.domain import Answer, Prompt, Step, ToolCall, ToolResult, ToolSpec, UserId
    from roommate.net import outbound_http

    parameters: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}
    tools = [ToolSpec(f"tool_{number}", "Does something. " * 20, parameters) for number in range(16)]

    def history(count: int) -> list[Step]:
        steps: list[Step] = [Prompt("SAY hello", UserId("@alice:x"))]
        for number in range(count):
            call = ToolCall(f"call_{number}", "tool_1", '{"path": "src/roommate/agent/window.py"}')
            steps += [Answer("", (call,)), ToolResult(call.id, "a line of a file\n" * 40)]
        return steps

    session = outbound_http.LazySession()
    given = session if way == "own wire" else None
    began = time.perf_counter()
    model = ProviderModel("openai/gpt-4o-mini", api_key="k", api_base=url, session=given)
    asked = "\n".join(["SAY hello", *["---", "SAY hello"] * (max(ROUNDS) + 1)])

    async def ask(steps: list[Step]) -> None:
        await model.reply(
            "You are Roommate. " * 80, [Prompt(asked, UserId("@alice:x")), *steps[1:]], tools, lambda _: None
        )

    await ask(history(0))
    samples: dict[str, list[float]] = {"first reply of a process": [time.perf_counter() - began]}
    for count in ROUNDS:
        steps = history(count)
        await ask(steps)
        taken = samples[f"{count}"] = []
        for _ in range(rounds):
            began = time.process_time()
            await ask(steps)
            taken.append(time.process_time() - began)
    await session.close()
    # Not getrusage(2): its maximum begins with that of the process that started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    samples["memory of that process"] = [int(peak[1]) / 1024]
    sys.stdout.write(json.dumps(samples))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
