"""How long nobody is answered while a release takes over, beside a plain restart of the daemon."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench.stage import PASSWORD, Figure, Stage, beside, figure
from roommate.updates.daemons import RESTART
from tests.person import Person, Shown
from tests.updates.installed import Installed, Remote, installed_in

EVERY = 0.1
"""Seconds between two messages of the person who waits."""


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="root-") as place:
        folder = Path(place)
        remote = Remote(folder / "remote")
        root = await asyncio.to_thread(installed_in, folder / "root", remote)
        commits = [remote.commit("One"), remote.commit("Another")]
        settings = {"SANDBOX_IMAGE": stage.image, "OPERATORS": stage.person.user_id}
        daemon = Installed(stage.synapse.url, await stage.account("installed"), PASSWORD, settings)
        daemon.cwd = root
        try:
            await daemon.start()
            room, other = [await daemon.room_with(stage.person) for _ in range(2)]
            waits = _Waits(stage.person, daemon, room)
            redeploys, restarts, whole = [], [], []
            for number in range(max(3, rounds // 8)):
                began = time.monotonic()
                redeploys.append(await waits.during(partial(waits.redeploy, other, commits[number % 2])))
                whole.append(time.monotonic() - began)
                restarts.append(await waits.during(waits.restart))
        finally:
            await daemon.end("run", "update")
            await daemon.discard()
    plain = figure("restart: last answer before to first after", restarts)
    taken_over = figure("redeploy: last answer before to first after", redeploys)
    return [plain, beside(taken_over, plain), figure("a whole redeploy of the same lock", whole)]


class _Waits:
    """A person who says something all the time, and sees when it is answered."""

    def __init__(self, person: Person, daemon: Installed, room: str) -> None:
        self._person = person
        self._daemon = daemon
        self._room = room

    async def during(self, act: Callable[[], Awaitable[None]]) -> float:
        """The longest that two answers were apart while it was done, in seconds."""
        talking = asyncio.create_task(self._talk())
        await self._answered(more=5)
        seen = len(self._answers())
        await act()
        await self._answered(more=10)
        talking.cancel()
        times = [answer.at for answer in self._answers()[seen - 1 :]]
        return max(later - sooner for sooner, later in pairwise(times))

    async def redeploy(self, room: str, commit: str) -> None:
        said = await self._person.say(room, f"!redeploy {commit}")
        asked = await self._person.wait(lambda: self._said_after(room, said), 30)
        assert asked is not None
        await self._person.react(room, asked.event_id, "✅")
        while (at := self._daemon.journal)["step"] != "done" or at["new"] != commit:
            assert at["step"] != "failed", at["why"]
            await asyncio.sleep(0.01)

    async def restart(self) -> None:
        before = self._daemon.log_text().count("ready after")
        os.kill(self._daemon.pid, RESTART)
        while self._daemon.log_text().count("ready after") == before:
            await asyncio.sleep(0.01)

    async def _talk(self) -> None:
        while True:
            await self._person.say(self._room, "!ping")
            await asyncio.sleep(EVERY)

    async def _answered(self, more: int) -> None:
        enough = len(self._answers()) + more
        await self._person.wait(lambda: len(self._answers()) >= enough, 60, "answers")

    def _answers(self) -> list[Shown]:
        return [m for m in self._daemon.said(self._person, self._room) if "Pong" in m.body]

    def _said_after(self, room: str, event: str) -> Shown | None:
        events = [seen.event_id for seen in self._person.seen]
        later = events[events.index(event) :] if event in events else []
        return next((m for m in self._daemon.said(self._person, room) if m.event_id in later), None)
