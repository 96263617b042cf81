"""What a room finds behind the ports of its container: its way out, models, and git."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Awaitable, Callable

from roommate import logs
from roommate.broker.egress_gate import Gate
from roommate.broker.gateway import Gateway
from roommate.broker.git import GitServer
from roommate.broker.proxy import EgressProxy
from roommate.broker.safe_connect import Addresses
from roommate.domain import RoomId
from roommate.ports import Serves, Tunnel

EGRESS_PORT = 3128
MODELS_PORT = 8080
GIT_PORT = 9418


class Broker:
    """Of all rooms."""

    def __init__(self, gate: Gate, addresses: Addresses, gateway: Gateway, git: GitServer) -> None:
        self._gate, self._gateway, self._git = gate, gateway, git
        self._proxy = EgressProxy(gate, addresses)
        self._numbers = itertools.count(1)

    def attach(self, room_id: RoomId, hand: Serves) -> None:
        """Serve a room through its hand; that ends with the hand."""
        for port, serve in (
            (EGRESS_PORT, self._proxy.serve),
            (MODELS_PORT, self._gateway.serve),
            (GIT_PORT, self._git.serve),
        ):
            hand.serve(port, functools.partial(self._numbered, serve, room_id))

    async def _numbered(
        self, serve: Callable[[RoomId, Tunnel], Awaitable[None]], room_id: RoomId, tunnel: Tunnel
    ) -> None:
        """Each connection has a number in the log."""
        with logs.about(room=room_id, request=next(self._numbers)):
            await serve(room_id, tunnel)

    async def close(self) -> None:
        await self._gate.close()
        await self._gateway.close()
        await self._git.close()
