"""What the container's control group says of itself, in both versions of cgroups."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH123

from __future__ import annotations

import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 512
"""Processes, where nothing says how many there may be."""


class OomKills:
    """How often the kernel killed for want of memory in this container."""

    def __init__(self) -> None:
        self._path = next((path for path in _places("memory", "oom_control", "events") if _oom_kills(path) >= 0), "")

    def count(self) -> int:
        """0 where it does not say."""
        return max(0, _oom_kills(self._path)) if self._path else 0


def memory_at_most() -> int:
    """Bytes; 0 where there is no limit."""
    return _number("memory", "limit_in_bytes", "max")


def processes_at_most() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    limits = [limit for limit in (_number("pids", "max", "max"), soft) if limit > 0]
    return min([*limits, MANY])


def _places(controller: str, v1: str, v2: str) -> Iterator[str]:
    try:
        with open("/proc/self/cgroup", encoding="ascii", errors="replace") as file:
            groups = dict(line.strip().split(":", 2)[1:] for line in file)
    except OSError:
        groups = {}
    for group in (groups.get(controller, ""), ""):
        yield f"/sys/fs/cgroup/{controller}{group}/{controller}.{v1}"
    for group in (groups.get("", ""), ""):
        yield f"/sys/fs/cgroup{group}/{controller}.{v2}"


def _words(path: str) -> list[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096).split()
    except OSError:
        return []


def _number(controller: str, v1: str, v2: str) -> int:
    for path in _places(controller, v1, v2):
        words = _words(path)
        if words and words[0].isdigit() and int(words[0]) < 1 << 60:  # v1 says a page less than 2^63 for none
            return int(words[0])
    return 0


def _oom_kills(path: str) -> int:
    words = _words(path)
    return int(words[words.index(b"oom_kill") + 1]) if b"oom_kill" in words else -1
