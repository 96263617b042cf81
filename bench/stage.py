"""The stage that everything is measured on: one homeserver, one scripted model, one person, daemons and an echo bot."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from roommate.composition.from_settings import sandboxes_of
from roommate.demo.embedded_synapse import Synapse
from roommate.domain import RoomId
from roommate.sandbox import image
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import Settings
from tests.harness import Daemon
from tests.person import Person
from tests.sandbox_image import NAME as IMAGE
from tests.sandbox_image import printed
from tests.scripted_model import ScriptedModel

PASSWORD = "a benchmark's password"
ROOM = RoomId("!bench")


Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing. `value` and `p95` in `unit`; `ratio` against `baseline` of the same run; `goal` to reach."""

    name: str
    value: float
    unit: str
    p95: float | None = None
    baseline: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def figure(
    name: str,
    samples: Sequence[float],
    unit: str = "ms",
    *,
    goal: float | None = None,
    p95_goal: float | None = None,
    least: float | None = None,
) -> Figure:
    """The median and the 95th percentile of samples in seconds (for ms) or in the unit itself.

    At most one of the goals: the most that the median or the 95th percentile may be, or the `least` of the median.
    """
    scaled = sorted(sample * 1000 if unit == "ms" else sample for sample in samples)
    median = statistics.median(scaled)
    p95 = scaled[min(len(scaled) - 1, round(len(scaled) * 0.95))]
    if goal is not None:
        return Figure(name, median, unit, p95, goal=f"≤ {goal:g} {unit}", met=median <= goal)
    if p95_goal is not None:
        return Figure(name, median, unit, p95, goal=f"p95 ≤ {p95_goal:g} {unit}", met=p95 <= p95_goal)
    if least is not None:
        return Figure(name, median, unit, goal=f"≥ {least:g} {unit}", met=median >= least)
    return Figure(name, median, unit, p95)


async def take_turns(calls: Sequence[Call], rounds: int) -> list[list[float]]:
    """Seconds of each call; they alternate, so that all see the same machine."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, samples, strict=True):
            taken.append(await timed(call))
    return samples


async def timed(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def beside(measured: Figure, baseline: Figure, *, most: float | None = None) -> Figure:
    """With its ratio to a baseline, which may be the `most` that it may have."""
    ratio = measured.value / baseline.value
    compared = replace(measured, baseline=baseline.name, ratio=ratio)
    return compared if most is None else replace(compared, goal=f"≤ {most:g} × {baseline.name}", met=ratio <= most)


@contextlib.asynccontextmanager
async def sandboxes(image: str) -> AsyncIterator[tuple[RoomSandboxes, Path]]:
    """The containers of rooms, without a daemon, and its state folder."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(matrix_user="@bench:localhost", state_dir=Path(folder), sandbox_image=image)
        rooms = sandboxes_of(settings)
        try:
            yield rooms, Path(folder)
        finally:
            await rooms.reset_workspace(ROOM)
            await rooms.close()


@dataclass(slots=True)
class Stage:
    synapse: Synapse
    image: str
    model: ScriptedModel
    person: Person
    daemons: list[Daemon] = field(default_factory=list)
    _accounts: int = 0

    async def account(self, name: str) -> str:
        self._accounts += 1
        account = await self.synapse.register(f"{name}-{self._accounts}", PASSWORD)
        return account.user_id

    async def daemon(self, *, scripted: bool = True, start: bool = True, **more: str) -> Daemon:
        settings = {"SANDBOX_IMAGE": self.image, **more}
        if scripted:  # under a name whose price LiteLLM knows, as most people's is
            settings |= {"LLM_MODEL": "openai/gpt-4o-mini", "LLM_API_BASE": self.model.url, "LLM_API_KEY": "k"}
        daemon = Daemon(self.synapse.url, await self.account("bot"), PASSWORD, settings)
        self.daemons.append(daemon)
        return await daemon.start() if start else daemon

    async def warm_room(self, daemon: Daemon) -> str:
        """A room whose container runs and whose model is loaded."""
        room = await daemon.room_with(self.person)
        await self.person.ask(room, 'TOOL run_command {"command": "true"}\n---\nSAY warm', 60)
        await self.person.ask(room, "SAY warm", 60)
        return room

    @contextlib.asynccontextmanager
    async def echo_bot(self) -> AsyncIterator[str]:
        """A room with the baseline bot in it."""
        user = await self.account("echo")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.echo", self.synapse.url, user, PASSWORD, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            room = await self.person.create_room([user])
            await self.person.wait_for_member(room, user)
            await self.person.ask(room, "warm")
            yield room
        finally:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        await image.build(IMAGE, stage="base", step=printed)
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        try:
            async with ScriptedModel() as model:
                account = await synapse.register("person", PASSWORD)
                async with await Person.at(synapse.url, account.user_id, PASSWORD) as person:
                    built = Stage(synapse, IMAGE, model, person)
                    try:
                        yield built
                    finally:
                        for daemon in built.daemons:
                            await daemon.discard()
        finally:
            await synapse.stop()
