"""The one HTTP listener: off unless HTTP_LISTEN is set, and bounded in connections, time and size.

What is to be seen there is given as routes; whoever adds one decides who may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from roommate.host import deadlines

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 32
ANSWER_SECONDS = 10.0
CONNECTION_SECONDS = 30.0
"""The life of a connection, whatever it does: monitors ask now and then, and dial anew."""
MOST_BYTES = 1 << 16
"""Of a request's body."""
RETRY_SECONDS = 30.0

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Route = Callable[[Mapping[str, str]], Awaitable[Answer]]
"""Answers a GET, with the request's headers. May take ANSWER_SECONDS; what it raises is a 500 without a word."""


class Listener:
    """Serves `routes` (by path) at an address until cancelled."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self._host, self._port = host, port
        app = web.Application(client_max_size=MOST_BYTES)
        for path, route in routes.items():
            app.router.add_get(path, _handler(path, route))
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=5.0, handle_signals=False)

    async def run(self) -> None:
        """Where the address is taken it is tried again: that nobody can look is no reason not to work."""
        loop = asyncio.get_running_loop()
        await self._runner.setup()
        try:
            while True:
                try:
                    server = await loop.create_server(self._protocol, self._host, self._port, backlog=MOST_CONNECTIONS)
                except OSError as error:
                    log.error("HTTP_LISTEN: %s; trying again in %.0f s", error.strerror or error, RETRY_SECONDS)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    break
            log.info("listening on http://%s", ", http://".join(_shown(one.getsockname()) for one in server.sockets))
            async with server:
                await server.serve_forever()
        finally:
            await self._runner.cleanup()

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= MOST_CONNECTIONS:
            return _Closed()
        connection = server()
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS, _end, connection)
        return connection


class _Closed(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _end(connection: asyncio.Protocol) -> None:
    transport = getattr(connection, "transport", None)
    if transport is not None:
        transport.abort()


def _handler(path: str, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            async with deadlines.within(ANSWER_SECONDS):
                status, content_type, body = await route(request.headers)
        except TimeoutError:
            return web.Response(status=503, text="no answer in time\n")
        except Exception:  # a monitor that asks at a bad moment must not be the end of anything
            log.exception("GET %s failed", path)
            return web.Response(status=500, text="failed: the daemon's log says why\n")
        headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return web.Response(status=status, body=body, headers=headers)

    return handle


def _shown(name: tuple[str | int, ...]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
