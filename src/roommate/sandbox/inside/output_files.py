"""Files of output that the hand keeps, each kind in a folder of its own below a `.roommate`."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH102, PTH105, PTH108, PTH112, PTH114, PTH118, PTH120, PTH123, SIM105

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT, KEPT_BYTES = 100, 512 << 20
"""Files that a folder of them may hold, and the bytes of those that are not written to any more: the oldest go."""
PART = 10
"""Of the disk they have one in so many parts at most."""


class Place:
    """Where a kind of them is kept: ``BASE/.roommate/KIND``; `shown` is how the daemon knows `base`."""

    def __init__(self, base: str, kind: str, shown: str = "") -> None:
        self.folder = os.path.join(base, ".roommate", kind)
        self.shown = os.path.join(shown, ".roommate", kind)
        self.open: set[Record] = set()
        """Those that are written to."""

    def room(self) -> int:
        """How many bytes they may have. Raises OSError."""
        disk = os.statvfs(self.folder)
        return min(KEPT_BYTES, disk.f_blocks * disk.f_frsize // PART)

    def make(self) -> None:
        """Raises OSError."""
        above = os.path.dirname(self.folder)
        _folder(above)
        _folder(self.folder)
        ignore = os.path.join(above, ".gitignore")
        if not os.path.lexists(ignore):
            with open(ignore, "w", encoding="ascii") as file:
                file.write("*\n")


class Record:
    """One such file. A full disk never harms the command whose output it is: `broken` is set, nothing more is written.

    Past `cap` bytes it ends, or when all that are open have what there is room for; one that `turns` is set aside past
    `cap` as ``NAME.1``, and starts anew.
    """

    def __init__(
        self, place: Place, name: str, cap: int, *, turns: bool = False, spare: Iterable[str] = (), again: bool = False
    ) -> None:
        """Raises OSError; FileExistsError where `name` is taken, unless it is gone on with `again`. The names in
        `spare` are in use: they do not go."""
        self.name = name
        self.shown = os.path.join(place.shown, name)
        self.broken = False
        self._path = os.path.join(place.folder, name)
        self._place, self._cap, self._turns, self._size = place, cap, turns, 0
        place.make()
        self._room = place.room()
        self._fd = self._create(os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK if again else os.O_EXCL)
        self._size = os.fstat(self._fd).st_size
        place.open.add(self)
        _prune(place.folder, {*spare, *(record.name for record in place.open)}, self._room)

    def write(self, chunk: bytes) -> None:
        if self.broken:
            return
        try:
            if self._is_full(len(chunk)):
                if self._turns:
                    os.replace(self._path, self._path + ".1")
                    os.close(self._fd)
                    self._fd = -1
                    self._fd, self._size = self._create(), 0
                else:
                    self.broken = True
                    chunk = b"\n[the file ends here: no more than %d KiB are kept]\n" % (self._size >> 10)
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]
            self._size += len(chunk)
        except OSError:
            self.broken = True
            if not self._turns:  # a part under the name of the whole would mislead, and the disk is full
                self.shown = ""
                try:
                    os.unlink(self._path)
                except OSError:
                    pass

    def close(self) -> None:
        self.broken = True
        self._place.open.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_full(self, more: int) -> bool:
        written = self._size if self._turns else sum(record._size for record in self._place.open)
        return self._size + more > self._cap or written + more > self._room

    def _create(self, how: int = os.O_EXCL) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o644)


def _folder(path: str) -> None:
    """Make it. A link in its place goes: we would write to, and delete, what is somebody else's."""
    if os.path.islink(path):
        os.unlink(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path) from None


def _prune(folder: str, spare: set[str], room: int) -> None:
    """The newest stay, of those that are not spared anyway."""
    files = []
    for entry in os.scandir(folder):
        if entry.name not in spare:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:  # it has gone
                continue
            files.append((found.st_mtime, found.st_blocks * 512, entry.path))
    files.sort(reverse=True)
    for number, (_, size, path) in enumerate(files, len(spare)):
        room -= size
        if number >= KEPT or room < 0:
            try:
                os.unlink(path)
            except OSError:
                pass  # somebody made a folder here
