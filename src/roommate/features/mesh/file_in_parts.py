"""A file on its way to a peer: in parts that the homeserver takes, encrypted where the room is, each with its hash."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from roommate.domain import JsonObject, RoomId
from roommate.errors import ToolError
from roommate.text.amounts import size

LARGEST_PART = 16 << 20
"""Bytes: a part is in memory while it is uploaded."""
MOST_PARTS = 64
"""What says where they are has to fit into one event."""

IN_THE_OPEN = "this room is not encrypted: its homeservers can read the file, and everybody in it"

PutFile = Callable[[RoomId, bytes, str, str], Awaitable[JsonObject]]
"""See `Homeserver.put_file`."""


def is_in_the_open(method: str, params: JsonObject, result: JsonObject | None) -> bool:
    """Was a file shared that is not encrypted, as far as that is known?"""
    match method, params, result:
        case "share.put", {"parts": [*parts]}, _:
            return any("file" not in part for part in parts if isinstance(part, dict))
        case "share.get", _, {"encrypted": False}:
            return True
    return False


class Parts:
    """Of one file for a room. Takes its bytes in order, as `Input` has it."""

    def __init__(self, room_id: RoomId, put_file: PutFile, largest: int) -> None:
        """`largest` is how many bytes the homeserver takes at once."""
        self._room_id, self._put_file = room_id, put_file
        self._part = min(largest, LARGEST_PART)
        self._buffer, self._hash, self._size = bytearray(), hashlib.sha256(), 0
        self._parts: list[JsonObject] = []
        self.ended = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Raises ToolError where it becomes too large, Transient and Refused."""
        if self._size + len(data) > MOST_PARTS * self._part:
            raise ToolError(f"a file of at most {size(MOST_PARTS * self._part)} can be shared here")
        self._hash.update(data)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) >= self._part:
            await self._upload(bytes(self._buffer[: self._part]))
            del self._buffer[: self._part]

    async def end(self) -> None:
        if self._buffer or not self._parts:
            await self._upload(bytes(self._buffer))
            self._buffer.clear()
        self.ended.set()

    async def resize(self, rows: int, columns: int) -> None:
        """It has no terminal."""

    def described(self) -> JsonObject:
        """The file as a request names it."""
        return {"size": self._size, "sha256": self._hash.hexdigest(), "parts": self._parts}

    async def _upload(self, part: bytes) -> None:
        place = await self._put_file(self._room_id, part, "application/octet-stream", "")
        self._parts.append({**place, "size": len(part), "sha256": hashlib.sha256(part).hexdigest()})
