"""What operators do in the rooms' containers: a program that is run there, and shells.

What a shell prints is a stream, and what is typed comes by calls of its own.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from roommate.domain import Exit, Session
from roommate.errors import ToolError
from roommate.operations import Base64, Call, OfRoom, Params, operation
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.store import Audit

_COMMAND = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash -i; exec sh -i")

Size = Annotated[int, Field(ge=1, le=9999)]


class Run(OfRoom):
    command: Annotated[list[str], Field(min_length=1)]
    stdin: Base64 = b""


class OpenShell(OfRoom):
    rows: Size
    columns: Size
    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")]


class OfShell(Params):
    shell: Annotated[str, Field(max_length=64)]


class Typed(OfShell):
    keys: Base64


class Resized(OfShell):
    rows: Size
    columns: Size


@dataclass(frozen=True, slots=True)
class Errors:
    """A piece of what a program printed as errors, in base64; its output is text alone."""

    errors: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The first of the stream: by what name the shell is typed to. The rest is text in base64."""

    shell: str


@dataclass(frozen=True, slots=True)
class Shells:
    sandboxes: Sandboxes
    log: Audit
    open: dict[str, Session] = field(default_factory=dict)
    """By name. Who opened one knows its name."""

    @operation("sandbox.run", audit="sandbox.run", subject=lambda params: params.command[0], seconds=None)
    async def run(self, params: Run, call: Call) -> Exit:
        """Runs a program in a room, and sends what it prints."""
        hand = await self.sandboxes.hand(call.its_room)

        async def take(piece: bytes) -> None:
            await call.tell(base64.b64encode(piece).decode())

        async def take_errors(piece: bytes) -> None:
            await call.tell(Errors(base64.b64encode(piece).decode()))

        return await hand.run(params.command, stdin=params.stdin, on_output=take, on_errors=take_errors)

    @operation("sandbox.shell", seconds=None)
    async def shell(self, params: OpenShell, call: Call) -> Exit:
        """Opens a shell in a room, until it ends; leaving hangs it up."""
        await self.log.record(call.deed("sandbox.shell"))  # now, and not when it ends
        hand = await self.sandboxes.hand(call.its_room)
        session = hand.session(_COMMAND, terminal=(params.rows, params.columns), env={"TERM": params.term})
        name = secrets.token_hex(8)

        async def take(piece: bytes) -> None:
            await call.tell(base64.b64encode(piece).decode())

        self.open[name] = session
        try:
            await call.tell(Opened(name))
            return await session.finish(take)
        finally:
            del self.open[name]

    @operation("sandbox.type", seconds=None)
    async def type(self, params: Typed, call: Call) -> None:
        """Types into a shell; returns when there may be more."""
        await self._find(params.shell).write(params.keys)

    @operation("sandbox.resize")
    async def resize(self, params: Resized, call: Call) -> None:
        """Tells a shell how large its terminal is."""
        await self._find(params.shell).resize(params.rows, params.columns)

    def _find(self, name: str) -> Session:
        if name not in self.open:
            raise ToolError("this shell has ended")
        return self.open[name]
