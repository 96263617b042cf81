"""Files that say something by being there: read at the start, told whenever one comes or goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from roommate.host import deadlines
from roommate.host.inotify import Inotify

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.1
"""A file is made, written, and given its time: that is told once."""

_RETRY_SECONDS = 5.0


def flags(folder: Path, *prefixes: str) -> Mapping[str, float]:
    """The files in `folder` whose names begin with one of `prefixes`, each with the time of its last change."""
    found = {}
    for path in (path for prefix in prefixes for path in folder.glob(f"{prefix}*")):
        try:
            found[path.name] = path.lstat().st_mtime
        except OSError:
            continue  # gone by now
    return found


async def watch_flags(folder: Path, *prefixes: str, tell: Callable[[Mapping[str, float]], Awaitable[None]]) -> None:
    """Tell what `flags` gives whenever that changes, until cancelled. What is written to other files of `folder`, such
    as a database, wakes nobody."""
    told, stirred, blind = flags(folder, *prefixes), asyncio.Event(), False

    def came(_watch: int, name: bytes) -> None:
        if not name or os.fsdecode(name).startswith(prefixes):
            stirred.set()

    inotify = Inotify(came, stirred.set)
    try:
        while True:
            patience = None
            try:
                inotify.watch(folder, gone=True)
                blind = False
            except OSError as error:  # the system has no watch left
                if not blind:
                    log.warning("%s cannot be watched, looking every %.0f s: %s", folder, _RETRY_SECONDS, error)
                blind, patience = True, _RETRY_SECONDS
            if (found := flags(folder, *prefixes)) != told:  # behind the watch: what came before is not told by it
                told = found
                await tell(found)
            with contextlib.suppress(TimeoutError):
                async with deadlines.within(patience):
                    await stirred.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            stirred.clear()
    finally:
        inotify.close()
