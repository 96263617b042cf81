"""A folder tree as members of a tar file, and back: whoever owns the tree may change it, and mean harm, meanwhile."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from roommate.errors import StateError

PIECE = 1 << 20
EMPTY_SIZE = 1 << 30
"""From this size on a file that is nearly all holes is left out: a room can make one of any size for nothing."""

UNREADABLE = (tarfile.TarError, zlib.error, EOFError, ValueError, OSError)
"""What reading a compressed tar file raises where it is damaged."""

LeftOut = Callable[[str, str], None]
"""Told of a name that is not in the backup, and why."""


class Packer:
    """Writes trees into a tar file. `hashes` are those of the regular files written so far, SHA-256 by name.

    Nothing is opened through a link, and nothing but regular files is read: we may be root, and a room is hostile.
    """

    def __init__(self, tar: tarfile.TarFile, left_out: LeftOut) -> None:
        self._tar = tar
        self._left_out = left_out
        self._links: dict[tuple[int, int], str] = {}
        self.hashes: dict[str, str] = {}
        self.bytes = 0

    def tree(self, folder: Path, name: str, skip: frozenset[str] = frozenset()) -> None:
        """All of a folder but what is called `skip` right in it, as `name/…`. Raises OSError where there is none."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._folder(descriptor, name, skip)
        finally:
            os.close(descriptor)

    def file(self, path: Path, name: str) -> None:
        """One file of ours."""
        with path.open("rb") as source:
            self._regular(source, os.fstat(source.fileno()), name)

    def text(self, text: str, name: str) -> None:
        self._add(tarfile.TarInfo(name), io.BytesIO(text.encode()), len(text.encode()))

    def _folder(self, folder: int, name: str, skip: frozenset[str]) -> None:
        self._tar.addfile(_info(name, os.fstat(folder), tarfile.DIRTYPE))
        for entry in sorted(os.listdir(folder)):
            if entry in skip:
                continue
            try:
                self._entry(folder, entry, f"{name}/{entry}")
            except FileNotFoundError:
                continue  # it went away in the meantime
            except OSError as error:
                self._left_out(f"{name}/{entry}", error.strerror or str(error))

    def _entry(self, folder: int, entry: str, name: str) -> None:
        found = os.stat(entry, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            below = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                self._folder(below, name, frozenset())
            finally:
                os.close(below)
        elif stat.S_ISLNK(found.st_mode):
            link = _info(name, found, tarfile.SYMTYPE)
            link.linkname = os.readlink(entry, dir_fd=folder)
            self._tar.addfile(link)
        elif stat.S_ISREG(found.st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(entry, flags, dir_fd=folder), "rb") as source:
                opened = os.fstat(source.fileno())
                if not stat.S_ISREG(opened.st_mode):
                    raise OSError(0, "it was changed meanwhile")
                self._regular(source, opened, name)
        # Sockets, pipes and devices have nothing in them to keep.

    def _regular(self, source: IO[bytes], found: os.stat_result, name: str) -> None:
        if found.st_size > EMPTY_SIZE and found.st_blocks * 512 < found.st_size // 16:
            self._left_out(name, f"it has {found.st_size:,} bytes, nearly all of them holes")
            return
        known = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and known in self._links:
            link = _info(name, found, tarfile.LNKTYPE)
            link.linkname = self._links[known]
            self._tar.addfile(link)
            return
        if found.st_nlink > 1:
            self._links[known] = name
        self._add(_info(name, found, tarfile.REGTYPE), source, found.st_size)

    def _add(self, info: tarfile.TarInfo, source: IO[bytes], size: int) -> None:
        info.size = size
        exactly = _Exactly(source, size)
        self._tar.addfile(info, exactly)
        self.hashes[info.name] = exactly.hash.hexdigest()
        self.bytes += size


class _Exactly:
    """Reads so many bytes, and hashes them: of a file that grows no more, of one that shrinks zeros instead."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self._left = size
        self.hash = hashlib.sha256()

    def read(self, most: int = PIECE, /) -> bytes:
        wanted = min(most, self._left)
        piece = self._source.read(wanted)
        piece += bytes(wanted - len(piece))
        self._left -= wanted
        self.hash.update(piece)
        return piece


def _info(name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, stat.S_IMODE(found.st_mode), int(found.st_mtime)
    info.uid, info.gid = found.st_uid, found.st_gid
    return info


def members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Every member; a regular file's comes in pieces, the last of them empty; None for all else.

    Raises StateError where the file is cut off or damaged.
    """
    try:
        for member in tar:
            if not member.isreg():
                yield member, None
                continue
            source = tar.extractfile(member)
            assert source is not None
            while piece := source.read(PIECE):
                yield member, piece
            yield member, b""
    except UNREADABLE as error:
        raise StateError(f"the backup is damaged: {error}") from error


class Unpacker:
    """Puts members below a folder that is new and ours. `hashes` are those of the files that are whole there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []
        self.hashes: dict[str, str] = {}

    def put(self, member: tarfile.TarInfo, piece: bytes | None) -> None:
        """Raises StateError for a name that leads elsewhere, OSError where the disk says no."""
        target = self._place(member.name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if piece is None:
            self._make(member, target)
            return
        if self._file is None:
            target.unlink(missing_ok=True)
            self._file = target.open("xb")
            self._hash = hashlib.sha256()
        if piece:
            self._file.write(piece)
            self._hash.update(piece)
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        _dress(self._file.fileno(), member)
        self._file.close()
        self._file = None
        self.hashes[member.name] = self._hash.hexdigest()

    def end(self) -> None:
        """Folders get their owners and modes last: a read-only one could not be filled."""
        for folder, member in reversed(self._folders):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            _dress(descriptor, member)
            os.close(descriptor)
        self._folders.clear()

    def _make(self, member: tarfile.TarInfo, target: Path) -> None:
        if member.isdir():
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folders.append((target, member))
        elif member.issym():
            target.symlink_to(member.linkname)
            if os.geteuid() == 0:
                os.lchown(target, member.uid, member.gid)
        elif member.islnk():
            os.link(self._place(member.linkname), target, follow_symlinks=False)
        else:
            raise StateError(f"the backup is damaged: {member.name!r} is of no kind that it can hold")

    def _place(self, name: str) -> Path:
        """Where a name leads: below the folder, and through no link."""
        parts = PurePosixPath(name).parts
        place = self._folder
        for part in parts[:-1]:
            place /= part
            if place.is_symlink():
                raise StateError(f"the backup is damaged: {name!r} leads through a link")
        if not parts or name.startswith("/") or ".." in parts:
            raise StateError(f"the backup is damaged: {name!r} leads elsewhere")
        return place / parts[-1]


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode)
    os.utime(descriptor, (member.mtime, member.mtime))
