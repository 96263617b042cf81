"""Host user ids for the rooms' user namespaces: a range for each room, since the kernel counts much of what it gives by
user (watches, pipes, signals that wait), for all containers of that user together."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from roommate.host import durable_files, file_lock, folder_modes
from roommate.sandbox.container_spec import IDS, Host

_KEPT = "ids"
_SIGNED = 1 << 31
"""From here on ids are negative to some programs."""


def free_ids(subuid: Path = Path("/etc/subuid"), uid_map: Path = Path("/proc/self/uid_map")) -> range | None:
    """The first host id of each range of IDS that nobody was given (subuid(5)); None where root has none to give."""
    highest = max(int(start) + int(count) for start, _, count in _fields(uid_map.read_text(), None))
    first = 1 << 20
    for _, start, count in _fields(subuid.read_text() if subuid.exists() else "", ":"):
        first = max(first, int(start) + int(count))
    # Others are given theirs from 100000 upwards: well above them nobody comes near for a long time.
    first = max(first, 1_000_000_000) if highest > 1_000_000_000 + 2 * IDS else first
    end = min(highest, _SIGNED) if first + IDS <= _SIGNED else highest
    return range(first, first + (end - first) // IDS * IDS, IDS) if first + IDS <= end else None


def given_to(user: str, subuid: Path = Path("/etc/subuid")) -> int:
    """How many ids this user has to give to containers."""
    lines = _fields(subuid.read_text() if subuid.exists() else "", ":")
    return sum(int(count) for who, _, count in lines if who in (user, str(os.getuid())))


def of_room(folder: Path, host: Host) -> Host:
    """`host` as the room with this folder has it: with ids that no other room of this daemon has, for as long as the
    folder is there. Where there are no more, they are those of trial containers. Blocks. Raises OSError."""
    firsts = _of_rooms(host)
    if not firsts:
        return host
    folder_modes.private(folder)
    with file_lock.alone(folder.parent):
        kept = _kept(folder)
        if kept not in firsts:
            taken = {_kept(other) for other in folder.parent.iterdir()}
            # Another daemon of this host, who has the same to give, most likely begins elsewhere.
            start = int.from_bytes(hashlib.sha256(os.fsencode(folder.parent.absolute())).digest()) % len(firsts)
            free = (one for one in (*firsts[start:], *firsts[:start]) if one not in taken)
            kept = next(free, None)
            if kept is not None:
                _keep(folder, kept)
    return host if kept is None else dataclasses.replace(host, first_id=kept)


def as_it_is(folder: Path, host: Host) -> Host:
    """`host` as the container of this room had it last. Blocks."""
    kept = _kept(folder)
    return dataclasses.replace(host, first_id=kept) if kept in _of_rooms(host) else host


def _of_rooms(host: Host) -> range:
    """But for the first, which is the one of all rooms where there are no more, and was before each had its own."""
    if host.first_id is None:
        return range(0)
    return range(host.first_id + IDS, host.first_id + host.ranges * IDS, IDS)


def _kept(folder: Path) -> int | None:
    try:
        return int((folder / _KEPT).read_text())
    except (OSError, ValueError):
        return None


def _keep(folder: Path, first: int) -> None:
    """It must outlive whatever happens: the files are given to these ids next."""
    durable_files.replace(folder / _KEPT, str(first).encode(), lasting=True)


def _fields(text: str, separator: str | None) -> Iterator[list[str]]:
    for line in text.splitlines():
        if len(parts := line.split(separator)) == 3:
            yield parts
