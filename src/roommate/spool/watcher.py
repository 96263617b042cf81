"""One watcher over the folders of all rooms. It only wakes us: the folders are the truth, and are read in turn."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from watchfiles import awatch

from roommate import logs
from roommate.errors import StateError
from roommate.spool.folder import RIPE_SECONDS, Folder
from roommate.words import HookEvent, JsonObject, RoomId

log = logging.getLogger(__name__)

Commit = Callable[[RoomId, Sequence[tuple[str, HookEvent]]], Awaitable[None]]
"""Keeps a room's events, each once by its file name; when it returns, the files may go. Raises StateError."""

ROUND = 64
"""Most files of a room that are read before other rooms have their turn."""

BURST, RATE = 1000, 200
"""Files that a room may leave at once, and a second in the long run; what is more waits in its folder."""

_DEBOUNCE_MS, _STEP_MS = 10, 3
"""The watcher looks every step, whether or not there is something: 1 ms would cost 4 % of a core, for ever."""

_RETRY_SECONDS = 5
_BLIND_SECONDS = 1
_GIVEN_UP_SECONDS = 0.02


class Spool:
    """Run `run`; `attach` the folders of rooms whenever their containers come up."""

    def __init__(self) -> None:
        self._folders: dict[RoomId, Folder] = {}
        self._allowances: dict[RoomId, _Allowance] = {}
        self._dirty: dict[RoomId, None] = {}
        self._marked = asyncio.Event()
        self._rewatch = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "spool")

    def attach(self, room_id: RoomId, out: Path, into: Path) -> None:
        """Watch `out`, and write answers into `into`. Attaching again watches anew: the folder may be another one."""
        self._folders[room_id] = Folder(room_id, out, into)
        self._allowances.setdefault(room_id, _Allowance())
        self._rewatch.set()

    def detach(self, room_id: RoomId) -> None:
        """The folder goes away; what is in it is read when it is attached again."""
        if self._folders.pop(room_id, None):
            self._rewatch.set()

    async def answer(self, room_id: RoomId, asks: str, content: JsonObject, *, allow: str = "") -> None:
        """Answer a hook that waits; `allow` names a kind of risk that is not to be asked about again."""
        if folder := self._folders.get(room_id):
            loop = asyncio.get_running_loop()
            if allow:
                await loop.run_in_executor(self._thread, folder.allow, allow)
            await loop.run_in_executor(self._thread, folder.answer, asks, json.dumps(content).encode())

    async def run(self, commit: Commit) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                while True:
                    await self._marked.wait()
                    while self._dirty:
                        room_id = next(iter(self._dirty))
                        del self._dirty[room_id]
                        with logs.about(room=room_id):
                            await self._round(room_id, commit)
                    self._marked.clear()
        finally:
            self._thread.shutdown(wait=False)

    async def _watch(self) -> None:
        """Mark rooms whose folders change. Folders are watched one by one: a room could fill its own with folders."""
        while True:
            self._rewatch.clear()
            rooms = {str(folder.out): room_id for room_id, folder in self._folders.items() if folder.out.is_dir()}
            if not rooms:
                await self._rewatch.wait()
                continue
            changes = awatch(
                *rooms,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=self._rewatch,
                recursive=False,
                ignore_permission_denied=True,
            )
            # What came before the watch stands is not told; it stands as soon as we wait for it.
            asyncio.get_running_loop().call_soon(self._mark, *rooms.values())
            try:
                async for batch in changes:
                    paths = {os.path.dirname(path) for _, path in batch}  # noqa: PTH120 — a thousand at once
                    self._mark(*(rooms[path] for path in paths if path in rooms))
            except* OSError as group:  # a folder went away under us, or the system has no watch left
                log.warning("hooks' folders cannot be watched, looking every second: %s", group.exceptions[0])
                await asyncio.sleep(_BLIND_SECONDS)
            except* RuntimeError:  # it gives up where a file's name is no UTF-8
                await asyncio.sleep(_GIVEN_UP_SECONDS)

    def _mark(self, *rooms: RoomId) -> None:
        self._dirty.update(dict.fromkeys(rooms))
        self._marked.set()

    async def _round(self, room_id: RoomId, commit: Commit) -> None:
        """Take some files of a room, keep their events, delete them; whoever has more comes again after the others."""
        loop = asyncio.get_running_loop()
        folder = self._folders.get(room_id)
        if folder is None:
            return
        most, wait = self._allowances[room_id].take(ROUND, loop.time())
        if not most:
            loop.call_later(wait, self._mark, room_id)
            return
        try:
            taken = await loop.run_in_executor(self._thread, folder.take, most)
            if taken.found:
                await commit(room_id, taken.found)
                await loop.run_in_executor(self._thread, folder.remove, [name for name, _ in taken.found])
        except (StateError, OSError) as error:
            log.warning("hook files were not read, trying again: %s", error)
            if folder is self._folders.get(room_id):
                self.attach(room_id, folder.out, folder.into)  # lists anew, so that what was taken is found again
                loop.call_later(_RETRY_SECONDS, self._mark, room_id)
            return
        self._allowances[room_id].used(taken.cost)
        if taken.more:
            self._mark(room_id)
        if taken.unripe:
            loop.call_later(RIPE_SECONDS, self._mark, room_id)


class _Allowance:
    """How many files of a room are read now: a bucket of BURST that RATE a second flows into."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = 0.0

    def take(self, wanted: int, now: float) -> tuple[int, float]:
        """How many may be read, and when there are none, in how many seconds."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        most = min(wanted, int(self._left))
        return most, 0.0 if most else ROUND / RATE

    def used(self, files: int) -> None:
        self._left -= files
