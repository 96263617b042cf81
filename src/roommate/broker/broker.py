"""What a room finds behind the ports of its container: its way out, models, and git."""

from __future__ import annotations

import functools

from roommate.broker.addresses import Addresses
from roommate.broker.gate import Gate
from roommate.broker.gateway import Gateway
from roommate.broker.git import GitServer
from roommate.broker.proxy import EgressProxy
from roommate.ports import Serves
from roommate.words import RoomId

EGRESS_PORT = 3128
MODELS_PORT = 8080
GIT_PORT = 9418


class Broker:
    """Of all rooms."""

    def __init__(self, gate: Gate, addresses: Addresses, gateway: Gateway, git: GitServer) -> None:
        self._gate, self._gateway, self._git = gate, gateway, git
        self._proxy = EgressProxy(gate, addresses)

    def attach(self, room_id: RoomId, hand: Serves) -> None:
        """Serve a room through its hand; that ends with the hand."""
        hand.serve(EGRESS_PORT, functools.partial(self._proxy.serve, room_id))
        hand.serve(MODELS_PORT, functools.partial(self._gateway.serve, room_id))
        hand.serve(GIT_PORT, functools.partial(self._git.serve, room_id))

    async def close(self) -> None:
        await self._gate.close()
        await self._gateway.close()
        await self._git.close()
