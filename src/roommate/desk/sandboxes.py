"""The rooms' containers: how they are, what they take, and what operators do in them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate.house import House
from roommate.words import Exit, RoomId


@dataclass(frozen=True, slots=True)
class Errors:
    """A piece of what a program printed as errors, in base64; its output is text alone."""

    errors: str


async def run(
    house: House, room_id: RoomId, command: Sequence[str], stdin: bytes, tell: Callable[[str | Errors], Awaitable[None]]
) -> Exit:
    """Run a program in the room; `tell` gets its output in base64. Raises SandboxError, ToolError."""
    hand = await house.sandboxes.hand(room_id)

    async def take(piece: bytes) -> None:
        await tell(base64.b64encode(piece).decode())

    async def take_errors(piece: bytes) -> None:
        await tell(Errors(base64.b64encode(piece).decode()))

    return await hand.run(command, stdin=stdin, on_output=take, on_errors=take_errors)
