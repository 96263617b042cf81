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
from roommate.features.hooks.folder_reader import RIPE_SECONDS, Folder
from roommate.host.inotify import Inotify
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
_ABSENT_SECONDS = 5
"""Between two looks for a folder that a room may make any time, or not at all."""
_UNWATCHED_SECONDS = 0.25
_NO_WATCH_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM}
"""Of inotify_init1(2) and inotify_add_watch(2)."""


Place = tuple[RoomId, bool]
"""A room's spool, or with True the folder in its workspace."""


class Spool:
    """Run `run`; `attach` the folders of rooms whenever their containers come up."""

    def __init__(self) -> None:
        self._folders: dict[Place, Folder] = {}
        self._allowances: dict[RoomId, Allowance] = {}
        self._stirs: dict[RoomId, Allowance] = {}
        self._watches: dict[Place, int] = {}
        self._places: dict[int, Place] = {}
        """By watch."""
        self._dirty: dict[Place, None] = {}
        self._marked = asyncio.Event()
        self._inotify: Inotify | None = None
        self._blind = False
        self._timers: dict[Place, asyncio.TimerHandle] = {}
        self._thread = ThreadPoolExecutor(1, "spool")

    def attach(self, room_id: RoomId, out: Path, into: Path, beside: Path | None = None) -> None:
        """Watch `out`, and `beside` it the folder in the workspace where hooks of others leave their files, should the
        room make it; write answers into `into`. Attaching again watches anew: the folders may be others."""
        self.detach(room_id)
        self._allowances.setdefault(room_id, Allowance(BURST, RATE))
        self._stirs.setdefault(room_id, Allowance(BURST * EVENTS_OF_A_FILE, RATE * EVENTS_OF_A_FILE))
        self._folders[room_id, False] = Folder(room_id, out, into)
        if beside is not None:
            self._folders[room_id, True] = Folder(room_id, beside, into, shared=True)
        self._mark(*(place for place in self._folders if place[0] == room_id))

    def detach(self, room_id: RoomId) -> None:
        """The folders go away; what is in them is read when they are attached again."""
        for place in ((room_id, False), (room_id, True)):
            self._folders.pop(place, None)
            self._unwatch(place)

    async def answer(self, room_id: RoomId, asks: str, content: JsonObject, *, allow: str = "") -> None:
        """Answer a hook that waits; `allow` names a kind of risk that is not to be asked about again."""
        if folder := self._folders.get((room_id, False)):
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
                    place = next(iter(self._dirty))
                    del self._dirty[place]
                    with logs.about(room=place[0]):
                        await self._round(place, commit)
                self._marked.clear()
        finally:
            self._inotify.close()
            self._thread.shutdown(wait=False)

    def _came(self, watch: int, name: bytes) -> None:
        """Something has a new name in a room's folder; without a name, the watch has ended by itself."""
        place = self._places.get(watch)
        if place is None:
            return  # what was on its way when the watch was given up
        stirs, folder = self._stirs[place[0]], self._folders.get(place)
        stirs.used(1)
        if not name:
            self._unwatch(place)
            self._mark(place)
        elif not stirs.take(1, asyncio.get_running_loop().time()):
            self._unwatch(place)
            self._later(place, _UNWATCHED_SECONDS)
        elif folder is not None and folder.means(os.fsdecode(name)):
            self._mark(place)

    def _watch(self, place: Place, folder: Folder) -> None:
        """Hear of what comes from now on; where the system has no watch left, look again soon.

        Raises OSError where the folder is away."""
        if place in self._watches or self._inotify is None:
            return
        try:
            watch = self._inotify.watch(folder.out)
        except OSError as error:
            if error.errno not in _NO_WATCH_LEFT:
                raise
            if not self._blind:
                log.warning("hooks' folders cannot be watched, looking every second: %s", error)
            self._blind = True
            self._later(place, _BLIND_SECONDS)
        else:
            self._blind = False
            self._watches[place], self._places[watch] = watch, place

    def _unwatch(self, place: Place) -> None:
        if self._inotify and (watch := self._watches.pop(place, None)) is not None:
            del self._places[watch]
            self._inotify.forget(watch)

    def _mark(self, *places: Place) -> None:
        self._dirty.update(dict.fromkeys(places))
        self._marked.set()

    def _later(self, place: Place, seconds: float) -> None:
        """Look into a folder in so many seconds, if that is not to be sooner anyway."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(place)
        if timer and loop.time() < timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[place] = loop.call_later(seconds, self._mark, place)

    async def _round(self, place: Place, commit: Commit) -> None:
        """Take some files of a room, keep their events, delete them; whoever has more comes again after the others."""
        loop = asyncio.get_running_loop()
        room_id, folder = place[0], self._folders.get(place)
        if folder is None:
            return
        most = self._allowances[room_id].take(ROUND, loop.time())
        if not most:
            self._later(place, ROUND / RATE)
            return
        try:
            self._watch(place, folder)  # first, so that nothing comes between looking and hearing
            taken = await loop.run_in_executor(self._thread, folder.take, most)
            if taken.found:
                await commit(room_id, taken.found)
                await loop.run_in_executor(self._thread, folder.remove, [name for name, _ in taken.found])
        except (StateError, OSError) as error:
            if isinstance(error, FileNotFoundError) and not folder.shared:
                return  # its container is gone; whoever makes it anew attaches it
            if isinstance(error, OSError) and folder.shared:  # there is none, or something else, which the room decides
                self._unwatch(place)
                self._later(place, _ABSENT_SECONDS)
                return
            if folder is self._folders.get(place):
                log.warning("hook files were not read, trying again: %s", error)
                self._unwatch(place)
                self._folders[place] = Folder(
                    room_id, folder.out, folder.into, folder.shared
                )  # finds what was taken again
                self._later(place, _RETRY_SECONDS)
            return
        self._allowances[room_id].used(taken.cost)
        if taken.more:
            self._mark(place)
        if taken.unripe:
            self._later(place, RIPE_SECONDS)
