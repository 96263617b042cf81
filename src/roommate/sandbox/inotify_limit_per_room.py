"""inotify(7): how much of what this host gives one room may take. The kernel charges it to who made the room's user
namespace as well, which is root or who runs the daemon: without a limit of the room's own one could leave them none."""

from __future__ import annotations

import logging
from pathlib import Path

from roommate.domain import Check
from roommate.errors import EngineError
from roommate.host import deadlines
from roommate.sandbox.run_host_program import communicate, last_line, start

log = logging.getLogger(__name__)

PART = 8
"""Of what the host gives: more rooms than these cannot all take their most."""
FEWEST_INSTANCES, FEWEST_WATCHES = 16, 8192
MOST_INSTANCES, MOST_WATCHES = 128, 1 << 17
"""What a large watcher of files needs."""

_OF_HOST = Path("/proc/sys/user")
_INSTANCES, _WATCHES = "max_inotify_instances", "max_inotify_watches"
_SECONDS = 10
_WELL = 1024
"""Instances with which a host has enough for itself and for what a good number of rooms use."""
_FEW_EPOLL = 1 << 16


def of_a_room(folder: Path = _OF_HOST) -> dict[str, int]:
    """By the names below /proc/sys/user."""
    given = {name: _number(folder / name) for name in (_INSTANCES, _WATCHES)}
    least = {_INSTANCES: FEWEST_INSTANCES, _WATCHES: FEWEST_WATCHES}
    most = {_INSTANCES: MOST_INSTANCES, _WATCHES: MOST_WATCHES}
    return {name: min(most[name], max(least[name], count // PART)) for name, count in given.items()}


async def limit(pid: int) -> None:
    """Set them in the user namespace of this process (namespaces(7): each has its own), before its room does anything.
    Where that cannot be is a line in the log."""
    script = "".join(f"echo {count} >{_OF_HOST / name} && " for name, count in of_a_room().items()) + ":"
    command = ("nsenter", f"--user=/proc/{pid}/ns/user", "--setuid", "0", "/bin/sh", "-c", script)
    try:
        async with deadlines.within(_SECONDS):
            process = await start(command)
            _, said = await communicate(process)
        problem = last_line(said) if process.returncode else ""
    except TimeoutError:
        problem = "nsenter does not end"
    except EngineError as error:
        problem = str(error)
    if problem:
        log.warning("a room's inotify watches are not limited: %s", problem)


def examine(*, shared: bool, host: Path = Path("/proc/sys/fs")) -> list[Check]:
    """What the host gives to a user, by its numbers. `shared`: all rooms are one user to it."""
    instances, watched = _number(host / "inotify/max_user_instances"), _number(host / "inotify/max_user_watches")
    epoll = _number(host / "epoll/max_user_watches")
    of_one = of_a_room()
    return [
        Check(
            "inotify",
            instances >= _WELL and watched >= FEWEST_WATCHES * PART,
            f"{instances} instances and {watched} watches for all rooms together, "
            f"{of_one[_INSTANCES]} and {of_one[_WATCHES]} at most for one of them",
            f"sysctl -w fs.inotify.max_user_instances={max(instances, 4 * _WELL)} "
            f"fs.inotify.max_user_watches={max(watched, MOST_WATCHES * PART)}, and into /etc/sysctl.d",
            needed=False,
        ),
        Check(
            "epoll",
            epoll >= _FEW_EPOLL and not shared,
            f"{epoll} watches for {'all rooms together: one can leave the others none' if shared else 'each room'}",
            "run the daemon as root: each room then has user ids of its own"
            if shared
            else f"sysctl -w fs.epoll.max_user_watches={_FEW_EPOLL}, and into /etc/sysctl.d",
            needed=False,
        ),
    ]


def _number(file: Path) -> int:
    """0 where this kernel has no such limit to tell."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
