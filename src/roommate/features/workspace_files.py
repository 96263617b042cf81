"""A room's files, in and out of its workspace in pieces: through the hand, where a link leads nowhere else."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import DirEntry, Draft, EventId, Hand, RoomId
from roommate.errors import ToolError
from roommate.matrix import render
from roommate.operations import Base64, Call, Change, OfRoom, Unchanged, Who, changing, operation
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.settings.config import Settings
from roommate.store import outbox
from roommate.text.amounts import size
from roommate.text.printable import block, in_code, one_line
from roommate.tools.send_file import described, whole

PIECE = 1 << 20
PROGRAM_SECONDS = 600
ENTRIES = 200
LAST_WORDS = 500
"""Bytes of what a program said that failed."""

Path = Annotated[str, Field(min_length=1, max_length=4096)]


class OfFile(OfRoom):
    path: Path


class InFolder(OfRoom):
    path: Annotated[str, Field(max_length=4096, description="A folder; without one: the workspace.")] = "."


class Piece(OfFile):
    piece: Base64
    first: bool = True


async def _run(hand: Hand, command: list[str], stdin: bytes = b"") -> None:
    said = b""

    def take(piece: bytes) -> None:
        nonlocal said
        said = (said + piece)[-LAST_WORDS:]

    exit = await hand.run(command, stdin=stdin, timeout=PROGRAM_SECONDS, on_output=take)
    if exit.code != 0:
        raise ToolError(said.decode(errors="replace").strip() or f"{command[0]} failed")


@dataclass(frozen=True, slots=True)
class Folder:
    """Its first entries, and how many there are in all."""

    path: str
    entries: Sequence[DirEntry]
    total: int


def _listed(folder: Folder) -> str:
    marks = {"dir": "/", "link": " (link)", "other": " (special file)"}
    names = [one_line(entry.path, 200) + marks.get(entry.kind, f"  {size(entry.size)}") for entry in folder.entries]
    more = [f"… and {folder.total - len(names)} more"] if folder.total > len(names) else []
    return block("\n".join((*names, *more))) if names else f"{in_code(folder.path, 200)} is empty."


@dataclass(frozen=True, slots=True)
class Files:
    """Pieces are in base64."""

    sandboxes: Sandboxes
    settings: Callable[[], Settings]
    largest: Callable[[], Awaitable[int]]
    """Bytes of a file that can be sent into a room."""

    @operation("workspace.list", reads=_listed, who=Who.ANYONE, chat="files", cli="workspace ls")
    async def list(self, params: InFolder, call: Call) -> Folder:
        """Lists a folder of a room's files."""
        hand = await self.sandboxes.hand(call.its_room)
        return Folder(params.path, *await hand.list(params.path, None, ENTRIES))

    @operation(
        "workspace.send",
        who=Who.ANYONE,
        audit="workspace.send",
        subject=lambda params: params.path,
        chat="get",
        socket=False,
    )
    async def send(self, params: OfFile, call: Call) -> Change[str]:
        """Sends a file of this room's workspace into the chat."""
        hand = await self.sandboxes.hand(call.its_room)
        file = described(params.path, await whole(hand, params.path, await self.largest()))
        content = render.attachment(file, thread=EventId(call.thread) if call.thread else None)
        draft = Draft(call.its_room, content, upload=file.content)
        return changing([lambda c: outbox.insert(c, [draft])], "")

    @operation("workspace.get", audit="workspace.get", subject=lambda params: params.path, seconds=None)
    async def get(self, params: OfFile, call: Call) -> int:
        """Sends a file of a room, as long as it was when it was first looked at.

        Gives its size.
        """
        hand, offset, length = await self.sandboxes.hand(call.its_room), 0, PIECE
        while offset < length:
            piece = await hand.read(params.path, offset, min(PIECE, length - offset))
            if offset == 0 and (length := piece.size) > (most := await self._most(call.its_room)):
                raise ToolError(
                    f"{params.path} says that it has {length} bytes, and the disk has {most}: "
                    "it has holes (pack it with tar -S there first), or is not what it seems"
                )
            if not piece.content:
                break
            await call.tell(base64.b64encode(piece.content).decode())
            offset += len(piece.content)
        return offset

    @operation("workspace.put", audit="workspace.put", subject=lambda params: params.path)
    async def put(self, params: Piece, call: Call) -> Unchanged[None] | None:
        """Writes a file of a room, or appends a further piece to it."""
        hand = await self.sandboxes.hand(call.its_room)
        if params.first:
            await hand.write(params.path, params.piece)
            return None
        await _run(hand, ["sh", "-c", 'cat >>"$1"', "sh", params.path], params.piece)
        return Unchanged(None)  # it was written down with the first

    @operation("workspace.export", audit="workspace.export", seconds=None)
    async def export(self, params: OfRoom, call: Call) -> None:
        """Sends all files of a room as a gzipped tar."""
        hand, sent, most = await self.sandboxes.hand(call.its_room), 0, await self._most(call.its_room)

        async def take(piece: bytes) -> None:
            nonlocal sent
            sent += len(piece)
            if sent > most:
                raise ToolError(
                    "the archive is larger than the disk that the files are on: they are not what they seem"
                )
            await call.tell(base64.b64encode(piece).decode())

        # What tar complains about would be in the middle of the archive.
        exit = await hand.run(["sh", "-c", "tar -cz . 2>/dev/null"], timeout=PROGRAM_SECONDS, on_output=take)
        if exit.code not in (0, 1):  # 1: a file changed while it was read
            raise ToolError("the archive is not whole: tar failed in the room's container")

    @operation("workspace.unpack", audit="workspace.import", seconds=None)
    async def unpack(self, params: OfFile, call: Call) -> None:
        """Unpacks a tar that was put there into the workspace of a room, and deletes it."""
        hand = await self.sandboxes.hand(call.its_room)
        await _run(hand, ["sh", "-c", 'tar -xf "$1"; code=$?; rm -f "$1"; exit $code', "sh", params.path])

    async def _most(self, room_id: RoomId) -> int:
        """How many bytes the disk has on which the room's files are. What speaks in the room says what it likes."""
        _, limit = await self.sandboxes.disk(room_id)
        return limit or (await asyncio.to_thread(shutil.disk_usage, self.settings().state_dir)).total
