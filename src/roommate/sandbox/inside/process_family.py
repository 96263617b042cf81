"""Which processes a command started: what must be killed with it."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH116, PTH123, PTH208, SIM105

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    Table = dict[int, tuple[int, int, int, int]]

MARK = "ROOMMATE_CALL"
"""Variable in the environment of all that a command starts."""
_MARKED = f"\0{MARK}=".encode()


class Family:
    """The living that descend from one process, `leader`, which leads a session of its own.

    Found by session and group, by descent, and by the mark in their environment, which finds a daemon that left both.
    Those found once are known by their start time, as their link to us may be gone the next time. A process that
    cleaned its environment, left the session AND lost its parent before we looked is not found: the container is the
    wall behind us. Not a child subreaper (prctl): that would give us such orphans without saying whose they are.
    """

    def __init__(self, leader: int, mark: str) -> None:
        self.leader = leader
        self.mark = mark
        self.reaped = False
        """The leader's number may be another process's now."""
        self.known: dict[int, int] = {}

    def signal(self, number: int, members: Collection[int], table: Table) -> None:
        """Signal these of its members."""
        if any(table[pid][1] == self.leader for pid in members):
            try:
                os.killpg(self.leader, number)  # all at once, so that a fork bomb cannot outrun us
            except OSError:
                pass
        _signal((pid for pid in members if table[pid][1] != self.leader), number)


def members(families: Iterable[Family], table: Table) -> dict[Family, set[int]]:
    """Who of all processes belongs to which of the families. However many these are, each process is looked at once."""
    families = list(families)
    leaders = {one.leader: one for one in families if not one.reaped or one.leader not in table}
    known = {item: one for one in families for item in one.known.items()}
    marks = {one.mark.encode(): one for one in families}
    owners: dict[int, Family] = {}
    for pid, (_, group, session, start) in table.items():
        if owner := leaders.get(session) or leaders.get(group) or known.get((pid, start)):
            owners[pid] = owner
    _descend(owners, table)
    ourselves = os.getpid()
    for pid in table.keys() - owners.keys():
        if pid != ourselves and (owner := marks.get(_mark_of(pid))):
            owners[pid] = owner
    _descend(owners, table)
    found: dict[Family, set[int]] = {one: set() for one in families}
    for pid, owner in owners.items():
        found[owner].add(pid)
    for one, pids in found.items():
        one.known = {pid: table[pid][3] for pid in pids}
    return found


def _descend(owners: dict[int, Family], table: Table) -> None:
    """Children of who is owned are their parent's owner's."""
    while children := {pid for pid, entry in table.items() if pid not in owners and entry[0] in owners}:
        owners.update((pid, owners[table[pid][0]]) for pid in children)


def _mark_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return (b"\0" + file.read(1 << 20)).partition(_MARKED)[2].partition(b"\0")[0]
    except OSError:
        return b""


def sweep(wanted: Iterable[Family]) -> bool:
    """Kill what belongs to nobody any more: all but us, those we descend from, and the `wanted`; whether there was any.

    All are stopped before one is killed, so that a fork bomb cannot outrun us. Where process 1 is not our own user's
    this is no container of ours, and nothing is done.
    """
    if os.stat("/proc/1").st_uid != os.getuid() or os.getuid() == 0:
        return False
    wanted = list(wanted)
    found: set[int] = set()
    while True:
        table = processes()  # first: who is in it and wanted is so still when we look closer
        spared: set[int] = set().union(*members(wanted, table).values())
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


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def processes() -> Table:
    """Every living process: pid to (parent, group, session, start time); the fields of proc_pid_stat(5)."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (entry := process(int(name))):
            table[int(name)] = entry
    return table


def process(pid: int) -> tuple[int, int, int, int] | None:
    """One of `processes`; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])
