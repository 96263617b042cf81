"""What kind of picture some bytes are, and how large: read from the headers, nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MOST_SEGMENTS = 1000
"""Of a JPEG before its size: a hostile one may have millions."""


@dataclass(frozen=True, slots=True)
class Measured:
    mimetype: str
    width: int
    height: int


def measure(content: bytes) -> Measured | None:
    """None for what is no PNG, JPEG, GIF or WebP, or is broken where its size should be."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            return Measured("image/png", *struct.unpack_from(">II", content, 16))
        if content.startswith((b"GIF87a", b"GIF89a")):
            return Measured("image/gif", *struct.unpack_from("<HH", content, 6))
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
    except struct.error:  # it ends too soon
        pass
    return None


def _jpeg(content: bytes) -> Measured | None:
    """The first frame header among the segments (ITU T.81, B.2)."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        marker, length = struct.unpack_from(">HH", content, at)
        if marker == 0xFFFF:  # fill bytes
            at += 1
        elif 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return Measured("image/jpeg", width, height)
        elif marker < 0xFFC0 or length < 2:
            return None
        else:
            at += 2 + length
    return None


def _webp(content: bytes) -> Measured | None:
    """https://developers.google.com/speed/webp/docs/riff_container"""
    match content[12:16]:
        case b"VP8 " if content[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", content, 26)
            return Measured("image/webp", width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if content[20:21] == b"\x2f":
            [bits] = struct.unpack_from("<I", content, 21)
            return Measured("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            low, high = struct.unpack_from("<IH", content, 24)
            return Measured("image/webp", (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1)
    return None
