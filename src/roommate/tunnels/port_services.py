"""What a room finds behind the ports of its container."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from roommate import logs
from roommate.domain import RoomId
from roommate.tunnels.tunnel import Serves, Tunnel


class Service(Protocol):
    """What is served at one port, to all rooms."""

    async def serve(self, room_id: RoomId, tunnel: Tunnel) -> None:
        """One connection. Raises HandLost."""

    async def close(self) -> None: ...


class RoomPorts:
    """Of all rooms."""

    def __init__(self, services: Mapping[int, Service]) -> None:
        """By the port of 127.0.0.1 in the container."""
        self._services = services
        self._numbers = itertools.count(1)

    def attach(self, room_id: RoomId, hand: Serves) -> None:
        """Serve a room through its hand; that ends with the hand."""
        for port, service in self._services.items():
            hand.serve(port, functools.partial(self._numbered, service.serve, room_id))

    async def _numbered(
        self, serve: Callable[[RoomId, Tunnel], Awaitable[None]], room_id: RoomId, tunnel: Tunnel
    ) -> None:
        """Each connection has a number in the log."""
        with logs.about(room=room_id, request=next(self._numbers)):
            await serve(room_id, tunnel)

    async def close(self) -> None:
        for service in self._services.values():
            await service.close()
