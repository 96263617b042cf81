"""One watcher over the folders of all rooms. It only wakes us: the folders are the truth, and are read in turn."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from roommate import logs
from roommate.domain import HookEvent, JsonObject, RoomId
from roommate.errors import StateError
from roommate.features.hooks.file_names import is_waiting
from roommate.features.hooks.folder_reader import RIPE_SECONDS, Folder
from roommate.features.hooks.inotify import Inotify
from roommate.net.token_bucket import Allowance

log = logging.getLogger(__name__)

Commit = Callable[[RoomId, Sequence[tuple[str, HookEvent]]], Awaitable[None]]
"""Keeps a room's events, each once by its file name; when it returns, the files may go. Raises StateError."""

ROUND = 64
"""Most files of a room that are read before other rooms have their turn."""

BURST, RATE = 1000, 200
"""Files that a room may leave at once, and a second in the long run; what is more waits in its folder."""

EVENTS_OF_A_FILE = 3
"""A hook makes a file, closes it, and renames it. A room with more events than its files could make is not watched for
a while: it writes what is no IPC file, and to be told of all that costs more than to look."""

_RETRY_SECONDS = 5
_BLIND_SECONDS = 1
_UNWATCHED_SECONDS = 0.25
_NO_WATCH_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM}
"""Of inotify_init1(2) and inotify_add_watch(2)."""


class Spool:
    """Run `run`; `attach` the folders of rooms whenever their containers come up."""

    def __init__(self) -> None:
        self._folders: dict[RoomId, Folder] = {}
        self._allowances: dict[RoomId, Allowance] = {}
        self._stirs: dict[RoomId, Allowance] = {}
        self._watches: dict[RoomId, int] = {}
        self._rooms: dict[int, RoomId] = {}
        """By watch."""
        self._dirty: dict[RoomId, None] = {}
        self._marked = asyncio.Event()
        self._inotify: Inotify | None = None
        self._blind = False
        self._timers: dict[RoomId, asyncio.TimerHandle] = {}
        self._thread = ThreadPoolExecutor(1, "spool")

    def attach(self, room_id: RoomId, out: Path, into: Path) -> None:
        """Watch `out`, and write answers into `into`. Attaching again watches anew: the folder may be another one."""
        self.detach(room_id)
        self._folders[room_id] = Folder(room_id, out, into)
        self._allowances.setdefault(room_id, Allowance(BURST, RATE))
        self._stirs.setdefault(room_id, Allowance(BURST * EVENTS_OF_A_FILE, RATE * EVENTS_OF_A_FILE))
        self._mark(room_id)

    def detach(self, room_id: RoomId) -> None:
        """The folder goes away; what is in it is read when it is attached again."""
        self._folders.pop(room_id, None)
        self._unwatch(room_id)

    async def answer(self, room_id: RoomId, asks: str, content: JsonObject, *, allow: str = "") -> None:
        """Answer a hook that waits; `allow` names a kind of risk that is not to be asked about again."""
        if folder := self._folders.get(room_id):
            loop = asyncio.get_running_loop()
            if allow:
                await loop.run_in_executor(self._thread, folder.allow, allow)
            await loop.run_in_executor(self._thread, folder.answer, asks, json.dumps(content).encode())

    async def run(self, commit: Commit) -> None:
        """Until cancelled."""
        self._inotify = Inotify(self._came, lambda: self._mark(*self._folders))
        try:
            while True:
                await self._marked.wait()
                while self._dirty:
                    room_id = next(iter(self._dirty))
                    del self._dirty[room_id]
                    with logs.about(room=room_id):
                        await self._round(room_id, commit)
                self._marked.clear()
        finally:
            self._inotify.close()
            self._thread.shutdown(wait=False)

    def _came(self, watch: int, name: bytes) -> None:
        """Something has a new name in a room's folder; without a name, the watch has ended by itself."""
        room_id = self._rooms.get(watch)
        if room_id is None:
            return  # what was on its way when the watch was given up
        stirs = self._stirs[room_id]
        stirs.used(1)
        if not name:
            self._unwatch(room_id)
            self._mark(room_id)
        elif not stirs.take(1, asyncio.get_running_loop().time()):
            self._unwatch(room_id)
            self._later(room_id, _UNWATCHED_SECONDS)
        elif is_waiting(os.fsdecode(name)):
            self._mark(room_id)

    def _watch(self, room_id: RoomId, folder: Folder) -> None:
        """Hear of what comes from now on; where the system has no watch left, look again soon.

        Raises OSError where the folder is away."""
        if room_id in self._watches or self._inotify is None:
            return
        try:
            watch = self._inotify.watch(folder.out)
        except OSError as error:
            if error.errno not in _NO_WATCH_LEFT:
                raise
            if not self._blind:
                log.warning("hooks' folders cannot be watched, looking every second: %s", error)
            self._blind = True
            self._later(room_id, _BLIND_SECONDS)
        else:
            self._blind = False
            self._watches[room_id], self._rooms[watch] = watch, room_id

    def _unwatch(self, room_id: RoomId) -> None:
        if self._inotify and (watch := self._watches.pop(room_id, None)) is not None:
            del self._rooms[watch]
            self._inotify.forget(watch)

    def _mark(self, *rooms: RoomId) -> None:
        self._dirty.update(dict.fromkeys(rooms))
        self._marked.set()

    def _later(self, room_id: RoomId, seconds: float) -> None:
        """Look into a room's folder in so many seconds, if that is not to be sooner anyway."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(room_id)
        if timer and loop.time() < timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[room_id] = loop.call_later(seconds, self._mark, room_id)

    async def _round(self, room_id: RoomId, commit: Commit) -> None:
        """Take some files of a room, keep their events, delete them; whoever has more comes again after the others."""
        loop = asyncio.get_running_loop()
        folder = self._folders.get(room_id)
        if folder is None:
            return
        most = self._allowances[room_id].take(ROUND, loop.time())
        if not most:
            self._later(room_id, ROUND / RATE)
            return
        try:
            self._watch(room_id, folder)  # first, so that nothing comes between looking and hearing
            taken = await loop.run_in_executor(self._thread, folder.take, most)
            if taken.found:
                await commit(room_id, taken.found)
                await loop.run_in_executor(self._thread, folder.remove, [name for name, _ in taken.found])
        except FileNotFoundError:
            return  # its container is gone; whoever makes it anew attaches it
        except (StateError, OSError) as error:
            if folder is self._folders.get(room_id):
                log.warning("hook files were not read, trying again: %s", error)
                self._unwatch(room_id)
                self._folders[room_id] = Folder(room_id, folder.out, folder.into)  # finds what was taken again
                self._later(room_id, _RETRY_SECONDS)
            return
        self._allowances[room_id].used(taken.cost)
        if taken.more:
            self._mark(room_id)
        if taken.unripe:
            self._later(room_id, RIPE_SECONDS)
