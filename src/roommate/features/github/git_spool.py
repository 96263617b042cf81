"""Where pushes lie while they are judged: on the disk, of which those of all rooms together may take a part."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from roommate.domain import RoomId
from roommate.features.github.git_wire import COMMANDS_BYTES

PUSH_BYTES = 512 << 20
ALL_BYTES = 2 << 30
"""Of all rooms. One may have as much as it leaves, so that there is always something for the next."""
LEFT_FREE = 256 << 20
"""Bytes of the disk that are not taken in any case."""

_LATER = "there is no space for a push of this size just now: try again in some minutes"


class Push:
    """One of them: `size` bytes came. Where they may not be kept `why` says so, and `file` has their beginning: git
    shows a reason only with the refs that it is about."""

    def __init__(self, spool: Spool, room_id: RoomId, file: BinaryIO) -> None:
        self.file = file
        self.size = 0
        self.why = ""
        self._spool, self._room_id = spool, room_id
        self._taken = 0

    async def add(self, piece: bytes) -> None:
        """More came. What is too much is dropped."""
        self.size += len(piece)
        if not self.why:
            self.why = await self._keep(piece)
            if self.why:
                self.file.truncate(min(self.file.tell(), COMMANDS_BYTES))
                self.give_back()

    def give_back(self) -> None:
        self._spool.give(self._room_id, self._taken)
        self._taken = 0

    async def _keep(self, piece: bytes) -> str:
        if self.size > PUSH_BYTES:
            return f"a push may have {PUSH_BYTES >> 20} MiB: push it in parts"
        if self.size > COMMANDS_BYTES:
            if not self._spool.take(self._room_id, len(piece)):
                return _LATER
            self._taken += len(piece)
        try:
            await asyncio.to_thread(self._write, piece)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return _LATER
        return ""

    def _write(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[self.file.write(left) :]


class Spool:
    """Of all rooms, in files of `folder` that have no name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: dict[RoomId, int] = {}

    @contextmanager
    def push(self, room_id: RoomId) -> Iterator[Push]:
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            push = Push(self, room_id, file)
            try:
                yield push
            finally:
                push.give_back()

    def take(self, room_id: RoomId, size: int) -> bool:
        """Whether a room may have so many bytes more; then they are taken."""
        disk = os.statvfs(self._folder)
        free = min(ALL_BYTES - sum(self._taken.values()), disk.f_bavail * disk.f_frsize - LEFT_FREE) - size
        mine = self._taken.get(room_id, 0) + size
        if mine > free:
            return False
        self._taken[room_id] = mine
        return True

    def give(self, room_id: RoomId, size: int) -> None:
        if left := self._taken.pop(room_id, 0) - size:
            self._taken[room_id] = left
