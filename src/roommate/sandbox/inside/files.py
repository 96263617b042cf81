"""Calls about files: read, write, list. Every path is one inside the container; its links are followed there."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH103, PTH104, PTH108, PTH115, PTH116, PTH118, PTH120, SIM105

from __future__ import annotations

import heapq
import json
import os
import stat
import time

from roommate.sandbox.inside.call import Call, Outflow
from roommate.sandbox.inside.command import Refusal, as_it_was, explain
from roommate.sandbox.inside.glob_matcher import Glob
from roommate.sandbox.inside.shortage import shortages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from roommate.sandbox.inside.call import Calls
    from roommate.sandbox.inside.path_resolution import Folders

NOT_WALKED = frozenset((".git", "node_modules", ".roommate"))
SLICE = 0.005
"""Seconds that a walk may take before others get their turn."""


class Read(Outflow):
    def __init__(self, calls: Calls, number: int, asked: dict[str, Any], folders: Folders) -> None:
        super().__init__(calls, number)
        path = folders.place(asked["path"])
        # A FIFO or a device would hang us, or never end.
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if asked.get("exact"):
            _judged(path, self.fd)
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self.fd)
            raise Refusal(f"{asked['path']} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a regular file'}")
        self.size = status.st_size
        self.offset, self.left = asked["offset"], asked["limit"]
        self.got = 0
        self.resume()

    def piece(self, size: int) -> bytes:
        chunk = os.pread(self.fd, min(size, self.left), self.offset)
        self.offset += len(chunk)
        self.left -= len(chunk)
        self.got += len(chunk)
        return chunk

    def whole(self) -> dict[str, Any]:
        return {
            "size": max(self.size, self.offset) if self.got else self.size
        }  # in /proc, files say that they are empty

    def answer(self, result: dict[str, Any]) -> None:
        os.close(self.fd)
        super().answer(result)


class Write(Call):
    """Replaces a file by a rename, so that nobody sees half of it; a link is followed and stays a link."""

    def __init__(self, calls: Calls, number: int, asked: dict[str, Any], folders: Folders) -> None:
        super().__init__(calls, number)
        path = folders.place(asked["path"])
        self.path = os.path.realpath(path)
        if exact := asked.get("exact", False):
            as_it_was(path, self.path)
        self._workspace = folders.workspace
        mode = None
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise Refusal(f"{asked['path']} is {kind}")
            mode = stat.S_IMODE(status.st_mode)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.draft = os.path.join(os.path.dirname(self.path), f".roommate-{os.urandom(8).hex()}.tmp")
        self.fd = os.open(self.draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if exact:  # from here on the draft is only where it is, and a rename out of another folder fails
            try:
                _judged(self.draft, self.fd)
            except Refusal:
                os.unlink(self.draft)
                raise
        if mode is not None:
            os.fchmod(self.fd, mode)

    def data(self, chunk: bytearray) -> None:
        super().data(chunk)
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            self.refuse("; ".join((explain(error, self.path), *shortages(False, self._workspace))))
        self.fed()

    def end(self) -> None:
        try:
            os.rename(self.draft, self.path)
        except OSError as error:
            self.refuse(explain(error, self.path))
        else:
            self.answer({})

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self.answer({})

    def answer(self, result: dict[str, Any]) -> None:
        os.close(self.fd)
        try:
            os.unlink(self.draft)
        except OSError:
            pass  # it has its name
        super().answer(result)


class List(Outflow):
    """The entries of a folder, or all below it that match; ``.git`` and the like are listed, not walked into."""

    def __init__(self, calls: Calls, number: int, asked: dict[str, Any], folders: Folders) -> None:
        super().__init__(calls, number)
        self.folder = folders.place(asked["path"])
        self.limit = asked["limit"]
        self.total = 0
        self.first: list[tuple[str, os.DirEntry[str]]] = []
        self.text = b""
        self.offset = 0
        pattern = asked["pattern"]
        self.steps = self.walk(Glob(pattern) if pattern else None)
        if asked.get("exact"):
            as_it_was(self.folder, os.path.realpath(self.folder))
        os.scandir(self.folder).close()  # is it one?
        self.waiting = False
        calls.loop.soon(self.step)

    def step(self) -> None:
        until = time.monotonic() + SLICE
        for _ in self.steps:
            if self.unwanted:
                break
            if time.monotonic() > until:
                self.calls.loop.soon(self.step)
                return
        self.cut()
        self.text = json.dumps([_entry(path, entry) for path, entry in self.first]).encode()
        self.waiting = True
        self.resume()

    def walk(self, glob: Glob | None) -> Iterator[None]:
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                entries = os.scandir(os.path.join(self.folder, below))
            except OSError:
                continue  # gone, or not ours to read
            with entries:
                for entry in entries:
                    path = below + entry.name
                    if glob is None or glob.matches(path):
                        self.total += 1
                        self.first.append((path, entry))
                        if len(self.first) >= 2 * self.limit + 1000:
                            self.cut()
                    if glob and entry.is_dir(follow_symlinks=False) and entry.name not in NOT_WALKED:
                        folders.append(path + "/")
                    yield

    def cut(self) -> None:
        self.first = heapq.nsmallest(self.limit, self.first, key=lambda item: item[0])

    def piece(self, size: int) -> bytes:
        self.offset += size
        return self.text[self.offset - size : self.offset]

    def whole(self) -> dict[str, Any]:
        return {"total": self.total}


def _judged(path: str, fd: int) -> None:
    """What was opened is at this very path; else it is closed. Raises Refusal."""
    try:
        as_it_was(path, os.readlink(f"/proc/self/fd/{fd}"))
    except Refusal:
        os.close(fd)
        raise


def _entry(path: str, entry: os.DirEntry[str]) -> tuple[str, str, int]:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return _shown(path), "other", 0
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    return _shown(path), kinds.get(stat.S_IFMT(status.st_mode), "other"), status.st_size


def _shown(path: str) -> str:
    """A name on disk may be no UTF-8; what goes over the stream is."""
    return os.fsencode(path).decode("utf-8", "replace")
