"""What serves the tunnels of one room: so many at once, whatever the room opens and closes, each ended with its own."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable

from roommate.errors import HandLost
from roommate.sandbox.inside.frames import TUNNELS
from roommate.sandbox.tunnel import Tunnel

log = logging.getLogger(__name__)

Handler = Callable[[Tunnel], Awaitable[None]]


class Handlers:
    """A handler may need a while to end when its tunnel did: until then it counts, and the next tunnels wait."""

    def __init__(self, name: str) -> None:
        """`name` is what the log says of whose they are."""
        self._name = name
        self._served: dict[int, Handler] = {}
        self._running: dict[Tunnel, asyncio.Task[None]] = {}
        self._waiting: dict[Tunnel, int] = {}
        """To their ports, in the order in which they came. They are open: so they are `TUNNELS` at most."""

    @property
    def ports(self) -> Iterable[int]:
        return self._served.keys()

    @property
    def running(self) -> int:
        return len(self._running)

    def serve(self, port: int, handler: Handler) -> None:
        """From now on a tunnel to this port gets this handler, and is closed when that returns.

        A handler whose tunnel is broken by the other side is cancelled; one that raises harms nobody but its tunnel.
        """
        self._served[port] = handler

    def take(self, port: int, tunnel: Tunnel) -> None:
        """A tunnel came, to a port that is served."""
        tunnel.broken = functools.partial(self._broken, tunnel)
        self._waiting[tunnel] = port
        self._start_next()

    async def close(self) -> None:
        self._waiting.clear()
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running.values()))

    def _start_next(self) -> None:
        if self._waiting and len(self._running) < TUNNELS:
            tunnel = next(iter(self._waiting))
            port = self._waiting.pop(tunnel)
            task = asyncio.get_running_loop().create_task(self._handle(port, tunnel), name=f"tunnel to {port}")
            self._running[tunnel] = task
            task.add_done_callback(functools.partial(self._ended, tunnel))

    def _ended(self, tunnel: Tunnel, _: asyncio.Task[None]) -> None:
        del self._running[tunnel]
        self._start_next()

    def _broken(self, tunnel: Tunnel) -> None:
        self._waiting.pop(tunnel, None)
        if task := self._running.get(tunnel):
            task.cancel()

    async def _handle(self, port: int, tunnel: Tunnel) -> None:
        try:
            await self._served[port](tunnel)
        except HandLost:
            pass  # the process in the room, or the room, went away
        except Exception:  # a room must survive whatever one connection does
            log.exception("%s: a tunnel to port %d failed", self._name, port)
        finally:
            tunnel.close()
