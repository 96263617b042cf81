"""Which processes a command started: what must be killed with it."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH116, PTH123, PTH208, SIM105

from __future__ import annotations

import os
import signal

MARK = "ROOMMATE_CALL"
"""Variable in the environment of all that a command starts."""


class Family:
    """The living that descend from one process, `leader`, which leads a session of its own.

    Found by session and group, by descent, and by the mark in their environment, which finds a daemon that left both.
    Those found once are known by their start time, as their link to us may be gone the next time. A process that
    cleaned its environment, left the session AND lost its parent before we looked is not found: the container is the
    wall behind us. Not a child subreaper (prctl): that would give us such orphans without saying whose they are.
    """

    def __init__(self, leader: int, mark: str) -> None:
        self._leader = leader
        self._mark = f"{MARK}={mark}\0".encode()
        self._known: dict[int, int] = {}

    def signal(self, number: int, reaped: bool) -> bool:
        """Signal all of them; whether there was anyone. `reaped` says that the leader's number may be another's now."""
        members = self._members(reaped)
        if any(group == self._leader for group in members.values()):
            try:
                os.killpg(self._leader, number)  # all at once, so that a fork bomb cannot outrun us
            except OSError:
                pass
        _signal({pid for pid, group in members.items() if group != self._leader}, number)
        return bool(members)

    def alive(self, reaped: bool) -> bool:
        return bool(self._members(reaped))

    def members(self) -> set[int]:
        return set(self._members(False))

    def _members(self, reaped: bool) -> dict[int, int]:
        """Pid to process group."""
        table = _processes()
        ours = not reaped or self._leader not in table
        members = {
            pid
            for pid, (_, group, session, start) in table.items()
            if (ours and self._leader in (group, session))
            or self._known.get(pid) == start
            or (pid != os.getpid() and self._marked(pid))
        }
        while children := {pid for pid, entry in table.items() if entry[0] in members} - members:
            members |= children
        self._known = {pid: table[pid][3] for pid in members}
        return {pid: table[pid][1] for pid in members}

    def _marked(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
                return self._mark in file.read(1 << 20)
        except OSError:
            return False


def sweep(wanted: list[Family]) -> bool:
    """Kill what belongs to nobody any more: all but us, those we descend from, and the `wanted`; whether there was any.

    All are stopped before one is killed, so that a fork bomb cannot outrun us. Where process 1 is not our own user's
    this is no container of ours, and nothing is done.
    """
    if os.stat("/proc/1").st_uid != os.getuid() or os.getuid() == 0:
        return False
    found: set[int] = set()
    while True:
        table = _processes()  # first: who is in it and wanted is so still when we look closer
        spared: set[int] = set().union(*(family.members() for family in wanted))
        line = os.getpid()
        while line in table:
            spared.add(line)
            line = table[line][0]
        if not (fresh := table.keys() - spared - found):
            break
        found |= fresh
        _signal(fresh, signal.SIGSTOP)
    _signal(found, signal.SIGKILL)
    return bool(found)


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def _processes() -> dict[int, tuple[int, int, int, int]]:
    """Every living process: pid to (parent, group, session, start time); the fields of proc_pid_stat(5)."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    fields = file.read(4096).rpartition(b")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if fields and fields[0] not in (b"Z", b"X"):
                table[int(name)] = (int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))
    return table
