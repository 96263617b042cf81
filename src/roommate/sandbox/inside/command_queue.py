"""The room's commands: those that run, and those that wait until it has a process to spare."""

from __future__ import annotations

import errno
import os
import time
from collections import deque

from roommate.sandbox.inside.cgroup_limits import OomKills, processes_at_most
from roommate.sandbox.inside.command import Refusal, explain
from roommate.sandbox.inside.kill_tree import Kills
from roommate.sandbox.inside.process_family import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from roommate.sandbox.inside.command import Command
    from roommate.sandbox.inside.event_loop import Loop

AGAIN = 0.02
"""Seconds between two tries at the limit; who ends makes the next one at once."""
SWEEP_EVERY = 0.5
PATIENCE = 10.0
"""Seconds that nothing was started for, after which those are refused that have waited as long."""
SWEPT = b"[too many processes ran in this room: those that earlier commands had left behind were ended]\n"


class Commands:
    """They are started in turn. Of those that are `counted` half as many run at once as the room may have
    processes: what they start needs some, too."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.running: dict[int, Command] = {}
        """By their process."""
        self.kills = Kills(loop, self.running)
        self.oom_kills = OomKills()
        self._counted = 0
        self._waiting: deque[Command] = deque()
        self._most = max(4, processes_at_most() // 2)
        self._moved = self._swept = 0.0
        self._full = self._going = False
        loop.watch_children(self.reap)

    def enter(self, command: Command) -> None:
        """Start it now or when its turn comes; its owner hears when it cannot be started."""
        if not self._waiting:
            self._moved = time.monotonic()
        command.since = time.monotonic()
        self._waiting.append(command)
        if not self._full:
            self._go()

    def leave(self, command: Command) -> None:
        """It is not to be started any more."""
        self._waiting.remove(command)

    def reap(self) -> bool:
        """Whether a child had ended."""
        ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                break
            ended = True
            if command := self.running.get(pid):
                command.reaped(status)
        if ended:
            self._go()
        return ended

    # ── For a command ──

    def began(self, command: Command) -> None:
        self.running[command.family.leader] = command
        self._counted += command.counted

    def ended(self, command: Command) -> None:
        if self.running.get(command.family.leader) is command:  # else the number is another's by now
            del self.running[command.family.leader]
        self._counted -= command.counted

    # ── In turn ──

    def _go(self) -> None:
        """Somebody has ended, or time has passed."""
        if self._going:  # from within: a try reaps
            return
        self._going, self._full = True, False
        try:
            while self._waiting and not self._full:
                if not self._next():
                    break
        finally:
            self._going = False
        if self._full:
            self._refuse()
            self.loop.at(AGAIN, self, self._go)

    def _next(self) -> bool:
        """Start the first in line; False while it has to wait until a command ends."""
        command = self._waiting[0]
        if command.counted and self._counted >= self._most:
            return False
        try:
            command.start()
        except BlockingIOError:
            self._full = not self._spare()
        except Refusal as error:
            self._waiting.popleft()
            command.owner.refused(str(error))
        else:
            self._waiting.popleft()
            self._moved = time.monotonic()
        return True

    def _spare(self) -> bool:
        """At the limit: those that have ended count until they are reaped, and what nobody wants any more can go."""
        if self.reap():
            return True
        now = time.monotonic()
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            if sweep(command.family for command in self.running.values()):
                self._waiting[0].owner.take(SWEPT)
        return False

    def _refuse(self) -> None:
        now = time.monotonic()
        if now - self._moved > PATIENCE:
            late = [command for command in self._waiting if now - command.since > PATIENCE]
            for command in late:
                self._waiting.remove(command)
                command.owner.refused(explain(BlockingIOError(errno.EAGAIN, ""), command.argv[0]))
