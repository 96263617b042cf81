"""What a room has run out of, and what takes it up: for people who wonder why a command failed."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH118

from __future__ import annotations

import itertools
import os

from roommate.sandbox.inside.cgroup_limits import memory_at_most

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MEMORY = ("/tmp", "/dev/shm")  # noqa: S108
FULL = 1 << 18
"""Bytes left on a file system that is full."""
LOOKED_AT = 5000
"""Files, at most, that are looked at to find the largest."""
_MIB = 1 << 20


def shortages(out_of_memory: bool, workspace: str) -> list[str]:
    """A line for each thing that there is no more of."""
    lines = []
    if out_of_memory:
        held = [f"{path} holds {_used(path) // _MIB} MiB of it" for path in IN_MEMORY if _used(path) >= _MIB]
        most = memory_at_most() // _MIB
        lines.append("; ".join(["the room's memory ran out" + (f": it has {most} MiB" if most else ""), *held]))
    for path in IN_MEMORY:
        if _full(path):
            what = f"{path} is full: it has {_size(path) // _MIB} MiB, of the room's memory"
            lines.append(what + _largest(path) + f". Remove what is not needed, or write to {workspace}")
    if _full(workspace):
        lines.append(f"{workspace} is full: it has {_size(workspace) // _MIB} MiB{_largest(workspace)}")
    return lines


def _full(path: str) -> bool:
    try:
        place = os.statvfs(path)
    except OSError:
        return False
    return place.f_bavail * place.f_frsize < FULL or (place.f_files > 0 and place.f_favail == 0)


def _used(path: str) -> int:
    try:
        place = os.statvfs(path)
    except OSError:
        return 0
    return (place.f_blocks - place.f_bfree) * place.f_frsize


def _size(path: str) -> int:
    place = os.statvfs(path)
    return place.f_blocks * place.f_frsize


def _largest(path: str) -> str:
    """The entry of a folder that takes most, with all below it."""
    sizes: dict[str, int] = {}
    for top, size in itertools.islice(_files(path, ""), LOOKED_AT):
        sizes[top] = sizes.get(top, 0) + size
    if not sizes:
        return ""
    top = max(sizes, key=lambda name: sizes[name])
    return f", {sizes[top] // _MIB} of them in {os.path.join(path, top)!a}"


def _files(folder: str, top: str) -> Iterator[tuple[str, int]]:
    """Everything below: the name of its first folder, and the bytes that it takes."""
    folders = [(folder, top)]
    while folders:
        folder, top = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    first = top or entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, first))
                    else:
                        yield first, entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # gone, or not ours to read
