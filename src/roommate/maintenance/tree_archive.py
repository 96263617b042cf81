"""A folder tree as members of a tar file, and back: whoever owns the tree may change it, and mean harm, meanwhile."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from roommate.errors import StateError
from roommate.host import folder_modes, hostile_trees
from roommate.host.hostile_trees import Step, Visit

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

PIECE = 1 << 20
EMPTY_SIZE = 1 << 30
"""From this size on a file that is nearly all holes is left out: a room can make one of any size for nothing."""
GAP = 1 << 20
"""Holes that are smaller are packed as the zeros that they read as."""
MOST_PIECES = 8192
"""Of one file, between holes; one that has more is packed with its holes."""
_PLAIN_SIZE = 8 << 30
"""From here on tar writes a size in a way that its own sparse files cannot have."""
LONGEST = 3000
"""Bytes of a folder's path below the packed one: a file in it has to have a path where it is restored."""
MOST_ENTRIES = 1_000_000
MOST_NAMES = 256 << 20
"""Of one tree, and bytes of their names: all of them are in memory, and in the manifest."""
MOST_LEFT_OUT = 100
"""Of one tree that are told one by one."""

_MAP, _SIZE, _COUNT = "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.numblocks"
"""As GNU tar has them (format 0.1 of its sparse files): it reads ours, too."""
Pieces = Sequence[tuple[int, int]]
"""Where a file has data: offset and length of each piece, in order."""

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

    def tree(self, folder: Path, name: str, skip: frozenset[str] = frozenset(), most: int | None = None) -> None:
        """All of a folder but what is called `skip` right in it, as `name/…`; `most` bytes of it, where that is given.
        Raises OSError where there is none."""
        top = os.open(folder, hostile_trees.FOLDER)
        try:
            self._add(_info(name, os.fstat(top), tarfile.DIRTYPE))
            self._below(top, name, skip, self.bytes + most if most is not None else None)
        finally:
            os.close(top)

    def file(self, path: Path, name: str) -> None:
        """One file of ours."""
        with path.open("rb") as source:
            found = os.fstat(source.fileno())
            self._content(_info(name, found, tarfile.REGTYPE), source.fileno(), ((0, found.st_size),))

    def text(self, text: str, name: str) -> None:
        content = text.encode()
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))

    def _below(self, top: int, name: str, skip: frozenset[str], most: int | None) -> None:
        place, entries, names, more = [name], 0, 0, 0

        def lost(entry: str, error: OSError) -> None:
            nonlocal more
            more += 1
            if more <= MOST_LEFT_OUT:
                self._left_out("/".join((*place, entry)), error.strerror or str(error))

        for visit in hostile_trees.walk(top, lost, skip=skip, longest=LONGEST):
            if visit.step is Step.LEFT:
                place.pop()
                continue
            path = "/".join((*place, visit.name))
            entries, names = entries + 1, names + len(path)
            if entries > MOST_ENTRIES or names > MOST_NAMES:
                self._left_out(path, "and all after it: more files than a backup holds of one room")
                break
            if visit.step is Step.ENTERED:
                place.append(visit.name)
                self._add(_info(path, visit.about, tarfile.DIRTYPE))
                continue
            try:
                opened = self._opened(visit, path, most)
            except FileNotFoundError:
                continue  # it went away in the meantime
            except OSError as error:
                lost(visit.name, error)
                continue
            if isinstance(opened, tarfile.TarInfo):
                self._add(opened)
            elif opened is not None:
                info, file, pieces = opened
                try:
                    if not self._content(info, file, pieces):
                        lost(visit.name, OSError(0, "it can be read in part only: zeros are in place of the rest"))
                finally:
                    os.close(file)
        if more > MOST_LEFT_OUT:
            self._left_out(f"{name}/…", f"and {more - MOST_LEFT_OUT} more")

    def _opened(
        self, visit: Visit, path: str, most: int | None
    ) -> tarfile.TarInfo | tuple[tarfile.TarInfo, int, Pieces] | None:
        """A link, or a file that is open; None for what has nothing in it to keep: sockets, pipes and devices."""
        if stat.S_ISLNK(visit.about.st_mode):
            link = _info(path, visit.about, tarfile.SYMTYPE)
            link.linkname = os.readlink(visit.name, dir_fd=visit.at)
            return link
        if not stat.S_ISREG(visit.about.st_mode):
            return None
        file = os.open(visit.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=visit.at)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, "it was changed meanwhile")
            known = (found.st_dev, found.st_ino)
            if found.st_nlink > 1 and known in self._links:
                link = _info(path, found, tarfile.LNKTYPE)
                link.linkname = self._links[known]
                os.close(file)
                return link
            pieces = _pieces(file, found)
            size = sum(length for _, length in pieces)
            if most is not None and self.bytes + size > most:
                raise OSError(0, f"it has {size:,} bytes, and the room's limit is used up")
            if found.st_nlink > 1:
                self._links[known] = path
            return _info(path, found, tarfile.REGTYPE), file, pieces
        except BaseException:
            os.close(file)
            raise

    def _add(self, info: tarfile.TarInfo) -> None:
        self._tar.addfile(info)

    def _content(self, info: tarfile.TarInfo, file: int, pieces: Pieces) -> bool:
        """False where the file could not be read to its end."""
        content = _Exactly(file, pieces)
        if pieces[-1:] != ((0, info.size),):
            spots = ",".join(f"{offset},{length}" for offset, length in pieces)
            info.pax_headers = {_SIZE: str(info.size), _COUNT: str(len(pieces)), _MAP: spots}
        content.hash = fresh_hash(info)
        info.size = content.left
        self.bytes += info.size
        self._tar.addfile(info, content)
        self.hashes[info.name] = content.hash.hexdigest()
        return content.whole


class _Exactly:
    """Reads these pieces of a file, and hashes them: of one that shrinks meanwhile zeros instead."""

    def __init__(self, file: int, pieces: Pieces) -> None:
        self._file = file
        self._pieces = iter(pieces)
        self._at = self._here = 0
        self.left = sum(length for _, length in pieces)
        self.hash = hashlib.sha256()
        self.whole = True

    def read(self, most: int = PIECE, /) -> bytes:
        read = b""
        while wanted := min(most - len(read), self.left):
            if not self._here:
                self._at, self._here = next(self._pieces)
            wanted = min(wanted, self._here)
            try:
                piece = os.pread(self._file, wanted, self._at)
            except OSError:
                piece, self.whole = b"", False
            read += piece + bytes(wanted - len(piece))
            self._at, self._here, self.left = self._at + wanted, self._here - wanted, self.left - wanted
        self.hash.update(read)
        return read


def _pieces(file: int, found: os.stat_result) -> Pieces:
    """Raises OSError for a file that is to be left out."""
    size, taken = found.st_size, found.st_blocks * 512
    whole = ((0, size),)
    if taken >= size:
        return whole
    if size > EMPTY_SIZE and taken < size // 16:
        raise OSError(0, f"it has {size:,} bytes, nearly all of them holes")
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            return whole  # a file system that knows no holes
        at = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if pieces and start - sum(pieces[-1]) < GAP:
            start = pieces.pop()[0]
        if start < at:
            pieces.append((start, at - start))
    stored = sum(length for _, length in pieces)
    return whole if len(pieces) > MOST_PIECES or stored >= _PLAIN_SIZE else tuple(pieces) or ((size, 0),)


def fresh_hash(member: tarfile.TarInfo) -> Hash:
    """Of where a file's data are, for it to go on with them."""
    return hashlib.sha256(member.pax_headers.get(_MAP, "").encode())


def _info(name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, stat.S_IMODE(found.st_mode), int(found.st_mtime)
    info.uid, info.gid = found.st_uid, found.st_gid
    info.size = found.st_size if kind == tarfile.REGTYPE else 0
    return info


def members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Every member; a regular file's data come in pieces, the last of them empty; None for all else.

    Raises StateError where the file is cut off or damaged.
    """
    try:
        for member in tar:
            if not member.isreg():
                yield member, None
                continue
            # Its holes are not read: they are as large as somebody wanted them to be.
            member.size, member.sparse = sum(length for _, length in spots(member)), None
            source = tar.extractfile(member)
            assert source is not None
            while piece := source.read(PIECE):
                yield member, piece
            yield member, b""
    except UNREADABLE as error:
        raise StateError(f"the backup is damaged: {error}") from error


def spots(member: tarfile.TarInfo) -> Pieces:
    """Where in a file the member's data belong. Raises ValueError where it was damaged or forged."""
    if _MAP not in member.pax_headers:
        if member.sparse is not None:
            raise ValueError("a sparse file of another kind")
        return ((0, member.size),)
    numbers = [int(text) for text in member.pax_headers[_MAP].split(",")]
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise ValueError("a sparse file with its data anywhere")
        end = offset + length
    if not end <= _size(member) < 1 << 60:
        raise ValueError("a sparse file with data behind its end")
    return pieces


def _size(member: tarfile.TarInfo) -> int:
    """With its holes."""
    return int(member.pax_headers.get(_SIZE, member.size))


class Unpacker:
    """Puts members below a folder that is new and ours. `hashes` are those of the files that are whole there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: _Filling | None = None
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []
        self._known: tuple[str, ...] = ()
        """The folder that the last member is in, which is no link and will become none."""
        self.hashes: dict[str, str] = {}

    def put(self, member: tarfile.TarInfo, piece: bytes | None) -> None:
        """Raises StateError for a name that leads elsewhere, OSError where the disk says no."""
        if piece is None:
            self._make(member, self._place(member.name))
            return
        if self._file is None:
            target = self._place(member.name)
            target.unlink(missing_ok=True)
            self._file = _Filling(target, member)
        if piece:
            self._file.write(piece)
            return
        filled, self._file = self._file, None
        self.hashes[member.name] = filled.end(member)

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
        """Where a name leads: below the folder, and through no link. The folder that it is in is made."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise StateError(f"the backup is damaged: {name!r} leads elsewhere")
        *above, last = parts
        # Members come folder by folder: what was looked at for the one before is not looked at again.
        same = 0
        for known, part in zip(self._known, above, strict=False):
            if known != part:
                break
            same += 1
        place = self._folder.joinpath(*above[:same])
        for part in above[same:]:
            place /= part
            if place.is_symlink():
                raise StateError(f"the backup is damaged: {name!r} leads through a link")
            if not place.exists():
                folder_modes.private(place)
        self._known = tuple(above)
        return place / last


class _Filling:
    """A new file that gets a member's data, at their places."""

    def __init__(self, target: Path, member: tarfile.TarInfo) -> None:
        self._spots = iter(spots(member))
        self._hash = fresh_hash(member)
        self._file = target.open("xb")
        self._here = 0

    def write(self, piece: bytes) -> None:
        self._hash.update(piece)
        rest = memoryview(piece)
        while rest:
            if not self._here:
                offset, self._here = next(self._spots)
                self._file.seek(offset)
            written = self._file.write(rest[: self._here])
            rest, self._here = rest[written:], self._here - written

    def end(self, member: tarfile.TarInfo) -> str:
        """Its hash."""
        with self._file as file:
            file.truncate(_size(member))
            file.flush()
            os.fsync(file.fileno())
            _dress(file.fileno(), member)
        return self._hash.hexdigest()


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode)
    os.utime(descriptor, (member.mtime, member.mtime))
