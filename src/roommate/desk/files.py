"""A room's files, in and out of its workspace in pieces: through the hand, where a link leads nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

from roommate.errors import ToolError
from roommate.house import House
from roommate.ports import Hand
from roommate.words import RoomId

PIECE = 1 << 20
PROGRAM_SECONDS = 600

Tell = Callable[[str], Awaitable[None]]
"""Takes a piece of a file, in base64."""


async def get(house: House, room_id: RoomId, path: str, tell: Tell) -> int:
    """A file, piece by piece; gives its size. Raises SandboxError, ToolError."""
    hand, offset = await house.sandboxes.hand(room_id), 0
    while True:
        piece = await hand.read(path, offset, PIECE)
        if not piece.content:
            return offset
        await tell(base64.b64encode(piece.content).decode())
        offset += len(piece.content)


async def put(house: House, room_id: RoomId, path: str, piece: bytes, *, first: bool) -> None:
    """Write a file, or append a further piece to it. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)
    if first:
        await hand.write(path, piece)
    else:
        await _run(hand, ["sh", "-c", 'cat >>"$1"', "sh", path], piece)


async def export(house: House, room_id: RoomId, tell: Tell) -> None:
    """The whole workspace as a gzipped tar, piece by piece. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)

    async def take(piece: bytes) -> None:
        await tell(base64.b64encode(piece).decode())

    # What tar complains about would be in the middle of the archive.
    exit = await hand.run(["sh", "-c", "tar -cz . 2>/dev/null"], timeout=PROGRAM_SECONDS, on_output=take)
    if exit.code not in (0, 1):  # 1: a file changed while it was read
        raise ToolError("the archive is not whole: tar failed in the room's container")


async def unpack(house: House, room_id: RoomId, path: str) -> None:
    """Unpack a tar that was put there into the workspace, and delete it. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)
    await _run(hand, ["sh", "-c", 'tar -xf "$1"; code=$?; rm -f "$1"; exit $code', "sh", path])


async def _run(hand: Hand, command: list[str], stdin: bytes = b"") -> None:
    said = bytearray()
    exit = await hand.run(command, stdin=stdin, timeout=PROGRAM_SECONDS, on_output=said.extend)
    if exit.code != 0:
        raise ToolError(said.decode(errors="replace").strip()[-500:] or f"{command[0]} failed")
