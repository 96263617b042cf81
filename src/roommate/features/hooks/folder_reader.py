"""One room's `out/` folder, as its hostile container leaves it: taken in order, in bounded pieces. All of it blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import time
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from roommate.domain import HookEvent, HookKind, RoomId
from roommate.features.hooks.file_names import SEEDS, claimed, is_claimed, is_ours, is_waiting, kind_of
from roommate.features.hooks.parse import Unfit, parse
from roommate.host import durable_files

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 16
"""Of one file. A hook's texts are cut to less."""

MOST_WAITING = 5000
"""Files that may wait; what is more is deleted unread, and counted."""

MOST_LISTED = 50_000
LISTED_FOR_ONE = 100
"""Listing so many entries takes as long as reading a file."""

DROPPED_AT_ONCE = 256
DROPPED_FOR_ONE = 32
"""The same of files that are deleted unread; a round deletes so many, since other rooms wait for its end."""

MOST_ANSWERS = 1000
"""Answers that stay, the newest: a hook looks for its own ten times a second, and nobody takes them away."""

MOST_LINES = 20
"""Bad files of a room that get a line in the log; later ones are only counted."""

RIPE_SECONDS = 2
"""A file with a seed name may be written in place: for so long it is unfinished rather than bad."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO that nobody writes to would block us without O_NONBLOCK, a link lead us to files of the host.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Taken:
    """What one round found: events by file name, in order. `more` says that files wait, `unripe` that one will soon."""

    found: list[tuple[str, HookEvent]]
    cost: int
    """In files: what it took of us to look."""
    more: bool
    unripe: bool


@dataclass(slots=True)
class Folder:
    room_id: RoomId
    out: Path
    into: Path
    shared: bool = False
    """There may be other files in it, which are nobody's but the room's."""
    bad: int = 0
    dropped: int = 0
    _backlog: deque[str] = field(default_factory=deque)
    """Names that were listed and not taken yet."""
    _surplus: deque[str] = field(default_factory=deque)
    """Names that were listed and are to be deleted unread."""
    _answers: int = 0

    def means(self, name: str) -> bool:
        """Is a file of this name to be looked at?"""
        return is_ours(name) if self.shared else is_waiting(name)

    def take(self, most: int) -> Taken:
        """Read the next files, at most so many; they stay until `remove`. Raises OSError when the folder is away."""
        folder = os.open(self.out, _FOLDER)
        try:
            listed = not (self._backlog or self._surplus)
            entries = 0
            if listed:
                entries = self._list(folder)
            found, unripe = [], False
            looked = min(most, len(self._backlog))
            for _ in range(looked):
                name = self._backlog.popleft()
                if name in SEEDS:
                    name = self._claim(folder, name)
                try:
                    if event := self._read(folder, name):
                        found.append((name, event))
                except Unfit as why:
                    if is_claimed(name) and _age(folder, name) < RIPE_SECONDS:
                        unripe = True
                    else:
                        self._set_aside(folder, name, str(why))
            dropped = self._drop(folder)
            # What came while we read is seen by the next listing; the one that finds nothing is the last.
            more = bool(self._backlog or self._surplus or found) or not listed
            cost = looked + entries // LISTED_FOR_ONE + dropped // DROPPED_FOR_ONE
            return Taken(found, cost, more, unripe)
        finally:
            os.close(folder)

    def remove(self, names: list[str]) -> None:
        """Delete files whose events are committed."""
        folder = os.open(self.out, _FOLDER)
        try:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def answer(self, asks: str, content: bytes) -> None:
        """Leave an answer where the hook that asked looks for it."""
        durable_files.replace(self.into / f"{asks}.json", content, mode=0o644)
        if self._answers % (MOST_ANSWERS // 10) == 0:
            self._forget_answers()
        self._answers += 1

    def _forget_answers(self) -> None:
        with os.scandir(self.into) as entries:
            answers = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json")]
        for _, path in sorted(answers)[:-MOST_ANSWERS]:
            Path(path).unlink(missing_ok=True)

    def allow(self, kind: str) -> None:
        """From now on this kind of risk is not asked about in this room."""
        path = self.into / "allowed"
        known = path.read_text().splitlines() if path.exists() else []
        if kind not in known:
            durable_files.replace(path, "".join(f"{one}\n" for one in (*known, kind)).encode(), mode=0o644)

    def _list(self, folder: int) -> int:
        """Find what waits, in order; gives the entries there are. Dotted names are not finished, or set aside."""
        with os.scandir(folder) as entries:
            every = [entry.name for entry in islice(entries, MOST_LISTED)]
        names = sorted(name for name in every if self.means(name))
        if surplus := names[MOST_WAITING:]:
            self.dropped += len(surplus)
            log.warning("%s: %d hook files are deleted unread, too many wait", self.room_id, len(surplus))
            self._surplus.extend(surplus)
        self._backlog.extend(names[:MOST_WAITING])
        return len(every)

    def _drop(self, folder: int) -> int:
        """Delete some of what is too much; gives how many."""
        dropped = min(DROPPED_AT_ONCE, len(self._surplus))
        for _ in range(dropped):
            with contextlib.suppress(OSError):
                os.unlink(self._surplus.popleft(), dir_fd=folder)
        return dropped

    def _claim(self, folder: int, seed: str) -> str:
        name = claimed(seed)
        try:
            os.rename(seed, name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileNotFoundError:
            return seed
        return name

    def _read(self, folder: int, name: str) -> HookEvent | None:
        """The file's event; None when it is gone. Raises Unfit."""
        kind = kind_of(name) or SEEDS.get(name)
        if kind is None:
            raise Unfit("its name is not that of an IPC file")
        try:
            file = os.open(name, _FILE, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:  # a link, a socket, not readable
            raise Unfit(error.strerror or str(error)) from error
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise Unfit("it is no regular file")
            content = os.read(file, MOST_BYTES + 1) if about.st_size <= MOST_BYTES else b""
            if about.st_size > MOST_BYTES or len(content) > MOST_BYTES:
                raise Unfit(f"it has more than {MOST_BYTES} bytes")
            event = parse(kind, content)
            left_at = min(about.st_mtime, time.time())
            return replace(event, asked_at=left_at) if kind is HookKind.APPROVAL else event
        except OSError as error:
            raise Unfit(error.strerror or str(error)) from error
        finally:
            os.close(file)

    def _set_aside(self, folder: int, name: str, why: str) -> None:
        """Out of the way, with a dotted name, for somebody to look at: no more than a few, others are deleted."""
        self.bad += 1
        shown = ascii(name[:80])
        if self.bad <= MOST_LINES:
            log.warning("%s: the hook file %s was set aside: %s", self.room_id, shown, why)
        elif self.bad & (self.bad - 1) == 0:
            log.warning("%s: %d bad hook files so far", self.room_id, self.bad)
        aside = f".bad-{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            if self.bad > MOST_LINES:
                os.unlink(aside, dir_fd=folder)


def _age(folder: int, name: str) -> float:
    """Seconds since the file was changed; a time in the future counts as long ago."""
    try:
        age = time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    except OSError:
        return RIPE_SECONDS
    return age if age >= 0 else RIPE_SECONDS
