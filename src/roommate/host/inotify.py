"""inotify(7) through the event loop: says which folders something comes into, and costs nothing while nothing does.

Python's standard library has none; watchfiles looks every few milliseconds for what its own inotify has seen, and is
woken by each write to any file of the folder. See docs/decisions/007-an-idle-daemon-sleeps.md.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

_CREATE, _CLOSE_WRITE, _MOVED_TO = 0x100, 0x8, 0x80
_DELETE, _MOVED_FROM = 0x200, 0x40
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_DIR, _DONT_FOLLOW = 0x1000000, 0x2000000
_MASK = _CREATE | _CLOSE_WRITE | _MOVED_TO | _ONLY_DIR | _DONT_FOLLOW
_GONE = _DELETE | _MOVED_FROM
_HEADER = struct.Struct("iIII")
"""watch, mask, cookie, length of the name behind it"""

AT_ONCE = 1 << 16
"""Bytes of events that are read in one turn of the event loop: some thousand events, a millisecond or two."""


class Inotify:
    """Watches folders, not what is below them. `came` gets a folder's watch and the name that something new has there,
    or b"" where the watch has ended by itself; `lost` is called when there was too much, so that any may have news.

    Both are called by the running event loop.
    """

    def __init__(self, came: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        self._came = came
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._file = -1

    def watch(self, folder: Path, *, gone: bool = False) -> int:
        """From now on: what is in the folder already is not told; with `gone` also what leaves it. A folder that is
        watched already keeps its watch. Raises OSError, also where the host has no more watches to give
        (``fs.inotify.max_user_watches``, ``max_user_instances``)."""
        if self._file < 0:
            self._file = _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._loop.add_reader(self._file, self._read)
        return _checked(_libc().inotify_add_watch(self._file, os.fsencode(folder), _MASK | (_GONE if gone else 0)))

    def forget(self, watch: int) -> None:
        _libc().inotify_rm_watch(self._file, watch)  # it may have ended by itself, which is as good

    def close(self) -> None:
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _read(self) -> None:
        events = os.read(self._file, AT_ONCE)
        at = 0
        while at < len(events):
            watch, mask, _, length = _HEADER.unpack_from(events, at)
            at += _HEADER.size
            if mask & _OVERFLOW:
                self._lost()
            else:
                self._came(watch, b"" if mask & _IGNORED else events[at : at + length].rstrip(b"\0"))
            at += length


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.inotify_init1.argtypes = [ctypes.c_int]
    libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    libc.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
    return libc
