"""A room's files, in and out of its workspace in pieces: through the hand, where a link leads nowhere else."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Awaitable, Callable

from roommate.errors import ToolError
from roommate.house import House
from roommate.ports import Hand
from roommate.words import RoomId

PIECE = 1 << 20
PROGRAM_SECONDS = 600
LAST_WORDS = 500
"""Bytes of what a program said that failed."""

Tell = Callable[[str], Awaitable[None]]
"""Takes a piece of a file, in base64."""


async def get(house: House, room_id: RoomId, path: str, tell: Tell) -> int:
    """A file, piece by piece, as long as it was when it was first looked at; gives its size. Raises SandboxError,
    ToolError."""
    hand, offset, size = await house.sandboxes.hand(room_id), 0, PIECE
    while offset < size:
        piece = await hand.read(path, offset, min(PIECE, size - offset))
        if offset == 0 and (size := piece.size) > (most := await _most(house, room_id)):
            raise ToolError(
                f"{path} says that it has {size} bytes, and the disk has {most}: "
                "it has holes (pack it with tar -S there first), or is not what it seems"
            )
        if not piece.content:
            break
        await tell(base64.b64encode(piece.content).decode())
        offset += len(piece.content)
    return offset


async def put(house: House, room_id: RoomId, path: str, piece: bytes, *, first: bool) -> None:
    """Write a file, or append a further piece to it. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)
    if first:
        await hand.write(path, piece)
    else:
        await _run(hand, ["sh", "-c", 'cat >>"$1"', "sh", path], piece)


async def export(house: House, room_id: RoomId, tell: Tell) -> None:
    """The whole workspace as a gzipped tar, piece by piece. Raises SandboxError, ToolError."""
    hand, size, most = await house.sandboxes.hand(room_id), 0, await _most(house, room_id)

    async def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > most:
            raise ToolError("the archive is larger than the disk that the files are on: they are not what they seem")
        await tell(base64.b64encode(piece).decode())

    # What tar complains about would be in the middle of the archive.
    exit = await hand.run(["sh", "-c", "tar -cz . 2>/dev/null"], timeout=PROGRAM_SECONDS, on_output=take)
    if exit.code not in (0, 1):  # 1: a file changed while it was read
        raise ToolError("the archive is not whole: tar failed in the room's container")


async def unpack(house: House, room_id: RoomId, path: str) -> None:
    """Unpack a tar that was put there into the workspace, and delete it. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)
    await _run(hand, ["sh", "-c", 'tar -xf "$1"; code=$?; rm -f "$1"; exit $code', "sh", path])


async def _most(house: House, room_id: RoomId) -> int:
    """How many bytes the disk has on which the room's files are. What speaks in the room says what it likes."""
    _, limit = await house.sandboxes.disk(room_id)
    return limit or (await asyncio.to_thread(shutil.disk_usage, house.settings.state_dir)).total


async def _run(hand: Hand, command: list[str], stdin: bytes = b"") -> None:
    said = b""

    def take(piece: bytes) -> None:
        nonlocal said
        said = (said + piece)[-LAST_WORDS:]

    exit = await hand.run(command, stdin=stdin, timeout=PROGRAM_SECONDS, on_output=take)
    if exit.code != 0:
        raise ToolError(said.decode(errors="replace").strip() or f"{command[0]} failed")
