"""Ending commands with all that they started: one look at the room's processes for all that are to end."""

# contextlib would cost time and memory at every start.
# ruff: noqa: SIM105

from __future__ import annotations

import os
import signal
import time

from roommate.sandbox.inside.process_family import members, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from roommate.sandbox.inside.event_loop import Loop
    from roommate.sandbox.inside.process_family import Family

    class Command(Protocol):
        family: Family
        farewell: int
        """The signal that it gets first."""

        def gone(self) -> None:
            """Nobody of its family is left."""
            ...


GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL."""
EVERY = 0.05
"""Seconds between two looks: a look takes some 30 µs a process."""
SHARE = 4
"""However long a look takes, so many times as long is left to others."""
KILLS = 40
"""Rounds of SIGKILL after which a family that is still there is given up (stuck in the kernel)."""


class _End:
    """`grouped`: its process group has had its farewell."""

    def __init__(self, command: Command, patience: float) -> None:
        self.command, self.patience = command, patience
        self.rounds = 0
        self.told = self.grouped = False


class Kills:
    """Those that are to end get their farewell, SIGTERM most of them, and who is left after their grace SIGKILL, until
    nobody is."""

    def __init__(self, loop: Loop, running: Mapping[int, Command]) -> None:
        """`running` are the room's commands."""
        self._loop, self._running = loop, running
        self._ends: dict[Command, _End] = {}
        self._not_before = 0.0

    def add(self, command: Command, grace: float) -> None:
        if command not in self._ends:
            end = self._ends[command] = _End(command, time.monotonic() + grace)
            if not command.family.reaped:  # the others of its family as soon as they are found
                end.grouped = True
                try:
                    os.killpg(command.family.leader, command.farewell)
                except OSError:
                    pass
            self.soon()

    def soon(self) -> None:
        """Somebody has ended: look as soon as may be."""
        if self._ends:
            self._loop.at(max(0.0, self._not_before - time.monotonic()), self, self._look)

    def _look(self) -> None:
        begun = time.monotonic()
        table = processes()
        # The families that go on are asked about, too: whose a process is, is seen from its session most quickly.
        families = [command.family for command in self._running.values()]
        found = members({*families, *(command.family for command in self._ends)}, table)
        for end in list(self._ends.values()):
            family = end.command.family
            left = found[family]
            if left and begun >= end.patience:
                end.rounds += 1
                family.signal(signal.SIGKILL, left, table)
            elif left and not end.told:  # none gets it twice: that would end what cleans up
                others = {pid for pid in left if not end.grouped or table[pid][1] != family.leader}
                family.signal(end.command.farewell, others, table)
            end.told = True
            if not left or end.rounds >= KILLS:
                del self._ends[end.command]
                end.command.gone()
        now = time.monotonic()
        self._not_before = now + SHARE * (now - begun)
        if self._ends:
            self._loop.at(max(EVERY, self._not_before - now), self, self._look)
