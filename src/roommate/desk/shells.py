"""Operators' shells in the rooms: what one prints is a stream, and what is typed comes by calls of its own."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roommate.errors import ToolError
from roommate.house import House
from roommate.ports import Session
from roommate.words import Exit, RoomId

_COMMAND = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash -i; exec sh -i")


@dataclass(frozen=True, slots=True)
class Opened:
    """The first of the stream: by what name the shell is typed to. The rest is text in base64."""

    shell: str


class Shells:
    """Those that are open, by name. Who opened one knows its name."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    async def open(
        self, house: House, room_id: RoomId, size: tuple[int, int], term: str, tell: Callable[[object], Awaitable[None]]
    ) -> Exit:
        """Until it ends; leaving hangs it up. `size` is rows and columns. Raises SandboxError, ToolError."""
        hand = await house.sandboxes.hand(room_id)
        session = hand.session(_COMMAND, terminal=size, env={"TERM": term})
        name = secrets.token_hex(8)

        async def take(piece: bytes) -> None:
            await tell(base64.b64encode(piece).decode())

        self._open[name] = session
        try:
            await tell(Opened(name))
            return await session.finish(take)
        finally:
            del self._open[name]

    async def type(self, name: str, keys: bytes) -> None:
        """Returns when there may be more. Raises ToolError."""
        await self._find(name).write(keys)

    async def resize(self, name: str, rows: int, columns: int) -> None:
        """Raises ToolError."""
        await self._find(name).resize(rows, columns)

    def _find(self, name: str) -> Session:
        if name not in self._open:
            raise ToolError("this shell has ended")
        return self._open[name]
