"""Files of output that the hand keeps in the workspace, under `.roommate`."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH102, PTH105, PTH108, PTH112, PTH114, PTH118, PTH120, PTH123, SIM105

from __future__ import annotations

import errno
import os

KEPT = 100
"""Files that a folder of them may hold; the oldest go."""


class Record:
    """One such file. A full disk never harms the command whose output it is: `broken` is set, nothing more is written.

    Past `cap` bytes it ends; one that `turns` is set aside then as ``NAME.1``, and starts anew.
    """

    def __init__(self, workspace: str, kind: str, name: str, cap: int, turns: bool, spare: set[str]) -> None:
        """Raises OSError; FileExistsError where `name` is taken. The names in `spare` are in use: they do not go."""
        self.shown = f".roommate/{kind}/{name}"
        self.broken = False
        self._path = os.path.join(workspace, self.shown)
        self._cap, self._turns, self._size = cap, turns, 0
        folder = os.path.dirname(self._path)
        _folder(os.path.dirname(folder))
        _folder(folder)
        ignore = os.path.join(workspace, ".roommate", ".gitignore")
        if not os.path.lexists(ignore):
            with open(ignore, "w", encoding="ascii") as file:
                file.write("*\n")
        self._fd = self._create()
        _prune(folder, spare | {name})

    def write(self, chunk: bytes) -> None:
        if self.broken:
            return
        try:
            if self._size + len(chunk) > self._cap:
                if self._turns:
                    os.replace(self._path, self._path + ".1")
                    os.close(self._fd)
                    self._fd = -1
                    self._fd, self._size = self._create(), 0
                else:
                    self.broken = True
                    chunk = b"\n[the file ends here: %d MiB is the most that is kept]\n" % (self._cap >> 20)
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
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _create(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _folder(path: str) -> None:
    """Make it. A link in its place goes: we would write to, and delete, what is somebody else's."""
    if os.path.islink(path):
        os.unlink(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", path) from None


def _prune(folder: str, spare: set[str]) -> None:
    files = [entry for entry in os.scandir(folder) if entry.name not in spare]
    files.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
    for entry in files[: max(0, len(files) + len(spare) - KEPT)]:
        try:
            os.unlink(entry.path)
        except OSError:
            pass  # somebody made a folder here
