"""What may be pushed from a room: new branches, new tags, and branches that only grow, the protected ones excepted."""

from __future__ import annotations

import fnmatch
import mmap
from collections.abc import Iterable, Sequence
from functools import partial
from typing import BinaryIO

from roommate.errors import ForgeError
from roommate.features.github.forge import Forge
from roommate.features.github.git_pack import BadPack, commits
from roommate.features.github.git_wire import NOTHING, Commands, Update
from roommate.host import own_thread

BRANCH, TAG = "refs/heads/", "refs/tags/"
ASKED_FOR = 8
"""Commits outside of the pack that the forge is asked about, for one branch."""


def is_protected(branch: str, globs: Iterable[str], default: str) -> bool:
    """Is it the default branch, or of those that the operator protects? Some forges do not tell cases apart."""
    return branch.lower() == default.lower() or any(fnmatch.fnmatchcase(branch.lower(), glob.lower()) for glob in globs)


async def refusals(
    pushed: Commands, body: BinaryIO, *, repository: str, forge: Forge, globs: Sequence[str]
) -> dict[str, str]:
    """Why refs may not be pushed, by ref; nothing for those that may. `body` is the whole push, commands and pack.

    Raises ForgeError when the forge cannot say what is there.
    """
    found = {update.ref: _at_sight(update) for update in pushed.updates}
    default = ""
    if any(update.ref.startswith(BRANCH) for update in pushed.updates):
        default = (await forge.repository(repository)).default_branch
    growing: list[Update] = []
    for update in pushed.updates:
        branch = update.ref.removeprefix(BRANCH)
        if found[update.ref] or branch == update.ref:
            continue
        if is_protected(branch, globs, default):
            if update.old != NOTHING or not await forge.is_empty(repository):
                found[update.ref] = "a protected branch: push to a new branch"
        elif update.old != NOTHING:
            growing.append(update)
    if growing:
        found |= await _of_history(growing, pushed.size, body, repository, forge)
    return {ref: why for ref, why in found.items() if why}


def _at_sight(update: Update) -> str:
    if update.new == NOTHING:
        return "nothing is deleted from a room"
    if update.ref.startswith(TAG):
        return "" if update.old == NOTHING else "a tag that is there stays as it is"
    return "" if update.ref.startswith(BRANCH) else "only branches and tags are pushed from a room"


async def _of_history(
    growing: Sequence[Update], start: int, body: BinaryIO, repository: str, forge: Forge
) -> dict[str, str]:
    try:
        # As long as a pack may take to read: a room has as many at once as it has pushes.
        edges = await own_thread.run(partial(_edges, growing, start, body), "push")
    except BadPack as error:
        return dict.fromkeys((update.ref for update in growing), f"its pack cannot be read: {error}")
    found = {}
    for update, edge in zip(growing, edges, strict=True):
        if edge is not None and not await _grown(update.old, edge, repository, forge):
            found[update.ref] = "history would be rewritten, or may be: push to a new branch"
    return found


def _edges(growing: Sequence[Update], start: int, body: BinaryIO) -> list[frozenset[str] | None]:
    """As `edges`, for the pack that begins at `start`."""
    with mmap.mmap(body.fileno(), 0, access=mmap.ACCESS_READ) as pack:
        if start == len(pack):  # a push of commits that are all there needs no pack
            return edges([(update.old, update.new) for update in growing], ())
        return edges([(update.old, update.new) for update in growing], commits(pack, start))


def edges(
    growing: Sequence[tuple[str, str]], pack: Iterable[tuple[str, tuple[str, ...]]]
) -> list[frozenset[str] | None]:
    """For each old and new commit None when the pack proves that the old one is in the new one's history; else the
    commits at which that history leaves the pack, among which the proof may be found elsewhere."""
    parents: dict[str, tuple[str, ...]] = {}
    reached = [{new} for _, new in growing]
    for commit, its_parents in pack:
        parents[commit] = its_parents
        for found in reached:
            if commit in found:
                _reach(commit, found, parents)
        if all(old in found for (old, _), found in zip(growing, reached, strict=True)):
            break
    return [
        None if old in found else frozenset(found - parents.keys())
        for (old, _), found in zip(growing, reached, strict=True)
    ]


def _reach(commit: str, found: set[str], parents: dict[str, tuple[str, ...]]) -> None:
    todo = [commit]
    while todo:
        for parent in parents.get(todo.pop(), ()):
            if parent not in found:
                found.add(parent)
                todo.append(parent)


async def _grown(old: str, edge: frozenset[str], repository: str, forge: Forge) -> bool:
    for commit in sorted(edge)[:ASKED_FOR]:
        try:
            if await forge.contains(repository, old, commit):
                return True
        except ForgeError:  # such as a commit that the forge does not know: it proves nothing
            continue
    return False
