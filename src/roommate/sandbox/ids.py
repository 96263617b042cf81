"""Host user ids for the rooms' user namespace, where root may choose them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roommate.sandbox.posture import IDS


def free_ids(subuid: Path = Path("/etc/subuid"), uid_map: Path = Path("/proc/self/uid_map")) -> int | None:
    """The first host id of a range of IDS that nobody was given (subuid(5)); None where this root has none to give."""
    highest = max(int(start) + int(count) for start, _, count in _fields(uid_map.read_text(), None))
    first = 1 << 20
    for _, start, count in _fields(subuid.read_text() if subuid.exists() else "", ":"):
        first = max(first, int(start) + int(count))
    # Others are given theirs from 100000 upwards: well above them nobody comes near for a long time.
    first = max(first, 1_000_000_000) if highest > 1_000_000_000 + 2 * IDS else first
    return first if first + IDS <= highest else None


def _fields(text: str, separator: str | None) -> Iterator[list[str]]:
    for line in text.splitlines():
        if len(parts := line.split(separator)) == 3:
            yield parts
