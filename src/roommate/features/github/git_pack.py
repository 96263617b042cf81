"""The commits in a pushed pack, read with bounds: whoever made the pack may want to hurt the one who reads it.

The format is that of gitformat-pack(5). Libraries inflate an object before they look at its size; here nothing is kept
but commits, and what is skipped is counted.
"""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

COMMIT, OFS_DELTA, REF_DELTA = 1, 6, 7

_HEAD = 12
_TRAILER = 20
_PIECE = 1 << 16
_INFLATED = 1 << 20
_LINES = re.compile(rb"tree [0-9a-f]{40}\n((?:parent [0-9a-f]{40}\n)*)author ")
_PARENT = re.compile(rb"[0-9a-f]{40}")


class BadPack(Exception):
    """It is broken, or more than is read."""


@dataclass(frozen=True, slots=True)
class Limits:
    objects: int = 4_000_000
    inflated_bytes: int = 16 << 30
    commit_bytes: int = 1 << 20
    """A commit that is longer is passed over."""
    kept_bytes: int = 64 << 20
    """Of commits, since others may be written as what differs from them."""
    seconds: float = 120.0


def commits(pack: mmap, start: int, limits: Limits = Limits()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Id and parents of each commit of the pack that begins at `start`, in its order. git writes commits before all
    else, so that who has found what they look for reads no further. Raises BadPack."""
    if pack[start : start + 4] != b"PACK" or int.from_bytes(pack[start + 4 : start + 8], "big") not in (2, 3):
        raise BadPack("it does not begin as a pack does")
    count = int.from_bytes(pack[start + 8 : start + _HEAD], "big")
    if count > limits.objects:
        raise BadPack(f"it has {count} objects")
    return _Reader(pack, limits).read(start + _HEAD, count)


class _Reader:
    def __init__(self, pack: mmap, limits: Limits) -> None:
        self._pack, self._limits = pack, limits
        self._end = len(pack) - _TRAILER
        self._inflated = self._kept = 0
        self._by_place: dict[int, bytes] = {}
        self._by_id: dict[str, bytes] = {}

    def read(self, at: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
        until = time.monotonic() + self._limits.seconds
        for _ in range(count):
            if time.monotonic() > until:
                raise BadPack("reading it takes too long")
            place, (kind, size, at) = at, self._object_head(at)
            base: bytes | None = None
            if kind == OFS_DELTA:
                back, at = self._offset(at)
                base = self._by_place.get(place - back)
            elif kind == REF_DELTA:
                base, at = self._by_id.get(bytes(self._pack[at : at + 20]).hex()), at + 20
            wanted = (kind == COMMIT or base is not None) and size <= self._limits.commit_bytes
            content, at = self._inflate(at, size, keep=wanted)
            if wanted and base is not None:
                content = applied(base, content, self._limits.commit_bytes)
            if wanted and content:
                yield self._keep(place, content)

    def _keep(self, place: int, content: bytes) -> tuple[str, tuple[str, ...]]:
        self._kept += len(content)
        if self._kept > self._limits.kept_bytes:
            raise BadPack("it has too many commits")
        found = _LINES.match(content)
        if found is None:
            raise BadPack("it has a commit that is none")
        name = hashlib.sha1(b"commit %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        self._by_place[place] = self._by_id[name] = content
        return name, tuple(parent.decode() for parent in _PARENT.findall(found[1]))

    def _byte(self, at: int) -> int:
        if at >= self._end:
            raise BadPack("it ends too early")
        return self._pack[at]

    def _object_head(self, at: int) -> tuple[int, int, int]:
        """Kind and size of an object, and where what follows begins."""
        byte = self._byte(at)
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            at += 1
            byte = self._byte(at)
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise BadPack("it has an object of impossible size")
        return kind, size, at + 1

    def _offset(self, at: int) -> tuple[int, int]:
        """How far before this object the one stands that it differs from, and where what follows begins."""
        byte = self._byte(at)
        back = byte & 0x7F
        while byte & 0x80:
            at += 1
            byte = self._byte(at)
            back = (back + 1) << 7 | byte & 0x7F
            if back > len(self._pack):
                raise BadPack("it has a delta of nothing")
        return back, at + 1

    def _inflate(self, at: int, size: int, *, keep: bool) -> tuple[bytes, int]:
        """The content when it is to be kept, and where it ends in the pack."""
        stream, content, seen = zlib.decompressobj(), bytearray(), 0
        piece = min(size + 64, _PIECE)
        while not stream.eof:
            given = self._pack[at : min(at + piece, self._end)]
            try:
                got = stream.decompress(given, _INFLATED)
            except zlib.error as error:
                raise BadPack("it has an object that cannot be inflated") from error
            rest = stream.unused_data or stream.unconsumed_tail
            at += len(given) - len(rest)
            seen += len(got)
            self._inflated += len(got)
            if seen > size or self._inflated > self._limits.inflated_bytes or not (given or got):
                raise BadPack("it has an object of another size than it says, or too much in all")
            if keep:
                content += got
            piece = _PIECE
        if seen != size:
            raise BadPack("it has an object of another size than it says")
        return bytes(content), at


def applied(base: bytes, delta: bytes, most: int) -> bytes:
    """What a delta makes of its base; b"" where that would have more than `most` bytes. Raises BadPack."""
    try:
        base_size, at = _size(delta, 0)
        size, at = _size(delta, at)
        if base_size != len(base):
            raise BadPack("it has a delta of something else")
        if size > most:
            return b""
        made = bytearray()
        while at < len(delta):
            order = delta[at]
            at += 1
            if order & 0x80:
                offset = length = 0
                for bit in range(4):
                    if order & 1 << bit:
                        offset |= delta[at] << 8 * bit
                        at += 1
                for bit in range(3):
                    if order & 0x10 << bit:
                        length |= delta[at] << 8 * bit
                        at += 1
                made += base[offset : offset + (length or 0x10000)]
            elif order:
                made += delta[at : at + order]
                at += order
            else:
                raise BadPack("it has a delta that says nothing")
            if len(made) > size:
                break
    except IndexError:
        raise BadPack("it has a delta that ends too early") from None
    if len(made) != size:
        raise BadPack("it has a delta of another size than it says")
    return bytes(made)


def _size(delta: bytes, at: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        byte = delta[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return size, at
        if shift > 63:
            raise BadPack("it has a delta of impossible size")
