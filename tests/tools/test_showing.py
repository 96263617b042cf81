"""send_file: which files people are shown, and as what."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import Attachment
from roommate.tools import RoomTools, TurnPorts
from roommate.tools.image_headers import Measured, measure
from roommate.tools.send_file import described
from tests.live_hand import live_hand
from tests.patience import PATIENCE
from tests.tools.test_room_tools import Room

LARGEST = 3_000_000


def png(width: int, height: int) -> bytes:
    """A whole one, all black."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


GIF = b"GIF89a" + struct.pack("<HH", 30, 20) + b"\0" * 9
JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    + b"\xff\xff\xfe\x00\x04hi"
    + b"\xff\xc2\x00\x11\x08\x00\x14\x00\x1e\x03"
    + b"\0" * 9
)
WEBP = {
    "lossy": b"VP8 \x30\0\0\0\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 30 | 1 << 14, 20) + b"\0" * 9,
    "lossless": b"VP8L\x30\0\0\0\x2f" + struct.pack("<I", 29 | 19 << 14) + b"\0" * 9,
    "extended": b"VP8X\x0a\0\0\0\0\0\0\0" + (29).to_bytes(3, "little") + (19).to_bytes(3, "little"),
}


class Shown:
    """Implements `Share`: `files` are what people were shown."""

    def __init__(self) -> None:
        self.files: list[tuple[str, Attachment]] = []

    async def largest(self) -> int:
        return LARGEST

    async def show(self, call_id: str, file: Attachment) -> None:
        self.files.append((call_id, file))


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with live_hand() as hand:
        yield Room(hand)


@pytest.fixture
def shown(room: Room) -> Shown:
    shown = Shown()
    room.tools = RoomTools(room._bring_up, TurnPorts(command_timeout=PATIENCE, longest_timeout=PATIENCE, share=shown))
    return shown


async def test_a_picture_and_a_long_file(room: Room, shown: Shown) -> None:
    (room.files / "plots").mkdir()
    (room.files / "plots" / "a.png").write_bytes(png(30, 20))
    long = os.urandom(LARGEST)
    (room.files / "long.bin").write_bytes(long)
    sent = await room.call("send_file", path="plots/a.png")
    assert sent.ok
    assert sent.text == f"people are shown a.png: image/png, {len(png(30, 20))} B, 30×20"
    assert (await room.call("send_file", path=str(room.files / "long.bin"))).ok
    assert shown.files == [
        ("1", Attachment("a.png", png(30, 20), "image/png", width=30, height=20)),
        ("2", Attachment("long.bin", long, "application/octet-stream")),
    ]


async def test_what_cannot_be_sent(room: Room, shown: Shown) -> None:
    (room.files / "large").write_bytes(b"x" * (LARGEST + 1))
    (room.files / "empty").touch()
    os.mkfifo(room.files / "fifo")
    for path, why in (
        ("large", "large has 2.9 MiB, and 2.9 MiB can be sent"),
        ("empty", "is empty"),
        ("fifo", "not a regular file"),
        (".", "is a folder"),
        ("missing", "no such file"),
    ):
        result = await room.call("send_file", path=path)
        assert not result.ok
        assert why in result.text
    assert shown.files == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png(30, 20), "png"),
        (GIF, "gif"),
        (JPEG, "jpeg"),
        *((b"RIFF\0\0\0\0WEBP" + one, "webp") for one in WEBP.values()),
    ],
    ids=["png", "gif", "jpeg", *WEBP],
)
def test_pictures_are_measured(content: bytes, kind: str) -> None:
    assert measure(content) == Measured(f"image/{kind}", 30, 20)
    for end in range(len(content)):
        measure(content[:end])


@given(st.sampled_from([png(3, 2), GIF, JPEG, *WEBP.values(), b"\xff\xd8" + b"\xff" * 100_000]), st.binary(max_size=40))
def test_whatever_bytes_come_they_are_measured_or_not(start: bytes, rest: bytes) -> None:
    for content in (start + rest, start[: len(start) // 2] + rest, rest):
        measure(content)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/film.mp4", "video/mp4"),
        ("song.mp3", "audio/mpeg"),
        ("notes.md", "text/markdown"),
        ("drawing.svg", "image/svg+xml"),
        ("no-picture.png", "application/octet-stream"),
        ("package.tar.gz", "application/octet-stream"),
        ("a\nb\x1b[31m", "application/octet-stream"),
    ],
)
def test_the_name_says_what_is_no_picture(path: str, kind: str) -> None:
    file = described(path, b"content")
    assert file.mimetype == kind
    assert file.name == "a b" if "\n" in path else file.name in path
