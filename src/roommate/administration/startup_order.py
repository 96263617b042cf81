"""The phases in which a daemon comes up, and what runs from which of them on."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple


class Phase(enum.IntEnum):
    """In their order: what a phase is for has to be reached before the next one begins."""

    OPEN = 0
    """Who is on this host can ask how it goes. Reached with a login."""
    CONNECT = 1
    """What is said is taken in. Reached with the first sync: a database that is the copy of last week learns from the
    rooms what was answered, before anything is sent or begun."""
    PROVE = 2
    """What was to be said is sent. Reached when this release stays: nothing was begun that a return to the older one
    would repeat."""
    READY = 3
    """Rooms work. Reached with every door open."""
    SERVE = 4
    """What nobody waits for."""


class Service(NamedTuple):
    """`run` begins with its phase, and may go on until the daemon ends."""

    phase: Phase
    run: Callable[[], Coroutine[Any, Any, object]]


class Startup:
    """`reached` waits for what a phase is for."""

    def __init__(self, services: Sequence[Service], reached: Mapping[Phase, Callable[[], Awaitable[object]]]) -> None:
        self._services, self._reached = services, reached

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Until everything runs in this group."""
        for phase in Phase:
            for service in self._services:
                if service.phase is phase:
                    group.create_task(service.run())
            if phase in self._reached:
                await self._reached[phase]()
