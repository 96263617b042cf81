"""Files that say something by being there: read at the start, told whenever one comes or goes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from watchfiles import Change, watch

from roommate.host import own_thread

log = logging.getLogger(__name__)

_STEP_MS = 500
"""People make these files: a look every half a second is soon enough."""

_RETRY_SECONDS = 5


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
    """Tell what `flags` gives whenever that changes, until cancelled."""
    told = flags(folder, *prefixes)
    while True:
        ended = threading.Event()
        # It looks now and then also where nothing changes: what came before the watch stood is not told.
        changes = watch(
            folder,
            watch_filter=lambda change, path: change is not Change.modified and Path(path).name.startswith(prefixes),
            debounce=_STEP_MS,
            step=_STEP_MS,
            stop_event=ended,
            rust_timeout=_RETRY_SECONDS * 1000,
            yield_on_timeout=True,
            recursive=False,
        )
        try:
            # `awatch` would load half of anyio for this, as soon as rooms begin to work.
            while await own_thread.run(partial(next, changes, None), "flags") is not None:
                if (found := flags(folder, *prefixes)) != told:
                    told = found
                    await tell(found)
        except (OSError, RuntimeError) as error:  # the system has no watch left
            log.warning("%s cannot be watched, looking again: %s", folder, error)
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            ended.set()
