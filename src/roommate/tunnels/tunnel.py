"""A room's connection to a port where the daemon serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from roommate.domain import Program


class Tunnel(Protocol):
    """A connection that a process of a room made to a port where the daemon serves. One task reads, one writes."""

    async def read(self) -> bytes:
        """What came since, b"" when no more comes. Raises HandLost when the other side is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way. Raises HandLost."""
        ...

    def end(self) -> None:
        """No more is written."""
        ...

    async def caller(self) -> Program:
        """The process that connected, as the room tells it; without a command line where it is not known.

        All processes of the room are looked at for it. Raises HandLost.
        """
        ...


class Serves(Protocol):
    """Where tunnels come from: a room's hand."""

    def serve(self, port: int, handler: Callable[[Tunnel], Awaitable[None]]) -> None:
        """Each connection to this port of 127.0.0.1 in the container gets the handler; at its end it is closed."""
        ...
