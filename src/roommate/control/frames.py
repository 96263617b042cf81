"""Frames of the control socket: four bytes of length, big-endian, then so many bytes of JSON."""

from __future__ import annotations

from collections.abc import Iterator

MOST_BYTES = 16 << 20

_HEAD = 4


class TooLong(Exception):
    """A frame of more than MOST_BYTES: nothing of it is kept, and what comes behind it cannot be understood."""


def framed(content: bytes) -> bytes:
    """Raises TooLong."""
    if len(content) > MOST_BYTES:
        raise TooLong(f"a frame has {MOST_BYTES} bytes at most, not {len(content)}")
    return len(content).to_bytes(_HEAD, "big") + content


class Frames:
    """Cuts a stream of bytes, that comes in any pieces, into frames."""

    def __init__(self) -> None:
        self._kept = bytearray()

    @property
    def unfinished(self) -> bool:
        """A part of a frame is here, and the rest is not."""
        return bool(self._kept)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Every frame that is whole with this piece, in order. Raises TooLong as soon as a length says so."""
        self._kept += piece
        while len(self._kept) >= _HEAD:
            length = int.from_bytes(self._kept[:_HEAD], "big")
            if length > MOST_BYTES:
                raise TooLong(f"a frame has {MOST_BYTES} bytes at most, not {length}")
            if len(self._kept) < _HEAD + length:
                return
            frame = bytes(self._kept[_HEAD : _HEAD + length])
            del self._kept[: _HEAD + length]
            yield frame
