"""A folder tree that somebody hostile made, of any depth: walked with few descriptors, by no path, through no link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened."""

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = -1


class Step(Enum):
    FOUND = auto()
    """What is no folder."""
    ENTERED = auto()
    LEFT = auto()
    """A folder, after all that is in it."""


@dataclass(frozen=True, slots=True)
class Visit:
    """`at` is a descriptor, for this step alone: of the folder that has `name`, but for ENTERED of that one itself.

    `about` is the stat of what is called so, for LEFT from when it was entered. A folder that was moved elsewhere
    meanwhile is LEFT with an `at` that is none.
    """

    step: Step
    at: int
    name: str
    about: os.stat_result


@dataclass(slots=True)
class _Level:
    """A folder on the way down. `left` has names that are to come, the next one last; `length` is in bytes of path."""

    name: str
    about: os.stat_result
    left: list[str]
    length: int


def walk(
    top: int,
    lost: Callable[[str, OSError], object],
    *,
    skip: frozenset[str] = frozenset(),
    longest: int | None = None,
    unlock: bool = False,
) -> Iterator[Visit]:
    """Everything below the open folder `top`, sorted by name, but what is called `skip` right in it.

    What cannot be looked at is given to `lost`, by its name in the folder that was entered last and not left since; so
    is a folder whose path below the top has more than `longest` bytes. What goes away meanwhile is passed over.
    `unlock` opens folders that were closed to their owner. Raises OSError where `top` itself cannot be listed.
    """
    levels = [_Level("", os.fstat(top), [name for name in _names(top) if name not in skip], 0)]
    at = os.open(".", FOLDER, dir_fd=top)
    try:
        while True:
            level = levels[-1]
            if level.left:
                name = level.left.pop()
                try:
                    found = os.stat(name, dir_fd=at, follow_symlinks=False)
                    below = None
                    if stat.S_ISDIR(found.st_mode):
                        length = level.length + len(os.fsencode(name)) + 1
                        if longest is not None and length > longest:
                            raise OSError(errno.ENAMETOOLONG, f"its path has more than {longest:,} bytes")
                        below = _open(at, name, unlock=unlock)
                        found = os.fstat(below)
                        levels.append(_Level(name, found, _listed(below), length))
                        os.close(at)
                        at = below
                except FileNotFoundError:
                    continue
                except OSError as error:
                    lost(name, error)
                    continue
                yield Visit(Step.FOUND if below is None else Step.ENTERED, at, name, found)
            elif len(levels) == 1:
                return
            else:
                del levels[-1]
                at = _above(at, levels, top)
                if at == _GONE and levels[-1].left:
                    levels[-1].left.clear()
                    lost("", OSError(errno.ESTALE, "it was moved elsewhere meanwhile"))
                yield Visit(Step.LEFT, at, level.name, level.about)
    finally:
        if at != _GONE:
            os.close(at)


def remove(folder: Path) -> None:
    """Delete a folder and all in it, whatever modes its owner gave to what is in it. Raises OSError."""
    top = _open(None, str(folder), unlock=True)
    try:
        for visit in walk(top, _refuse, unlock=True):
            if visit.step is Step.FOUND:
                os.unlink(visit.name, dir_fd=visit.at)
            elif visit.step is Step.LEFT:
                os.rmdir(visit.name, dir_fd=visit.at)
    finally:
        os.close(top)
    folder.rmdir()


def give(folder: Path, owner: int) -> None:
    """Give a folder and all in it to `owner`, the folder itself last: while it is another's this is not done, and to
    do it again goes on. Raises OSError."""
    top = os.open(folder, FOLDER)
    try:
        for visit in walk(top, _refuse):
            if visit.step is not Step.ENTERED and (visit.about.st_uid, visit.about.st_gid) != (owner, owner):
                os.chown(visit.name, owner, owner, dir_fd=visit.at, follow_symlinks=False)
        os.fsync(top)  # what was changed before is kept before
        os.fchown(top, owner, owner)
    finally:
        os.close(top)


def _refuse(_: str, error: OSError) -> None:
    raise error


def _open(folder: int | None, name: str, *, unlock: bool) -> int:
    if unlock:
        # By /proc, since fchmod(2) takes no such descriptor, and chmod(2) might follow a link.
        closed = os.open(name, _PATH, dir_fd=folder)
        try:
            if os.fstat(closed).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                Path(f"/proc/self/fd/{closed}").chmod(stat.S_IRWXU)
        finally:
            os.close(closed)
    return os.open(name, FOLDER, dir_fd=folder)


def _listed(folder: int) -> list[str]:
    """Closes it where it cannot be listed."""
    try:
        return _names(folder)
    except BaseException:
        os.close(folder)
        raise


def _names(folder: int) -> list[str]:
    return sorted(os.listdir(folder), reverse=True)


def _above(at: int, levels: list[_Level], top: int) -> int:
    """The folder that the last level is: it is above `at`, which is closed, or still where it was found."""
    above = _GONE
    if at != _GONE:
        above = os.open("..", FOLDER, dir_fd=at)
        os.close(at)
    if above != _GONE and os.path.samestat(os.fstat(above), levels[-1].about):
        return above
    # Who owns the tree moved something.
    here = os.open(".", FOLDER, dir_fd=top)
    for level in levels[1:]:
        try:
            below = os.open(level.name, FOLDER, dir_fd=here)
        except OSError:
            below = _GONE
        os.close(here)
        here = below
        if here == _GONE:
            break
    if above != _GONE:
        os.close(above)
    if here != _GONE and not os.path.samestat(os.fstat(here), levels[-1].about):
        os.close(here)
        here = _GONE
    return here
