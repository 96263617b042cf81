"""What stands before a homeserver and passes everything on: it counts, and a test can step in at any request
or change what is said."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

JsonObject = dict[str, Any]
DROPPED = {"transfer-encoding", "content-encoding", "content-length", "connection", "host"}


class Front:
    """`url` is what the bot is told. `before` may answer in the homeserver's place, `after` sees what it answered, and
    `change` may change the JSON of an answer, given the path."""

    def __init__(self, homeserver: str, tls: ssl.SSLContext | None = None) -> None:
        self.homeserver = homeserver
        self.asked: list[tuple[str, str]] = []
        """(path, access token) of each request, in order."""
        self.before: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        self.after: Callable[[web.Request, bytes], Awaitable[None]] | None = None
        self.change: Callable[[str, JsonObject], None] | None = None
        self._tls = tls
        self._http: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        assert self._runner is not None
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=1 << 30)
        self.routes(app)
        app.router.add_route("*", "/{path:.*}", self.forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        assert self._runner is not None
        await self._runner.cleanup()
        await self._http.close()

    def routes(self, app: web.Application) -> None:
        """What it answers itself."""

    def token(self, request: web.Request) -> str | None:
        """The homeserver's own token for a request; None refuses it."""
        return bearer(request)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        assert self._http is not None
        self.asked.append((request.path, bearer(request)))
        if self.before and (answer := await self.before(request)) is not None:
            return answer
        if (token := self.token(request)) is None:
            return web.json_response({"errcode": "M_UNKNOWN_TOKEN", "error": "Token is not active"}, status=401)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            body = await request.read()
            url = URL(self.homeserver + request.raw_path, encoded=True)  # some sign how it is written
            async with self._http.request(request.method, url, headers=headers, data=body or None) as response:
                said = await response.read()
        except aiohttp.ClientError:
            return web.json_response({}, status=502)
        if self.after:
            await self.after(request, said)
        if self.change and response.content_type == "application/json":
            found = json.loads(said)
            self.change(request.path, found)
            said = json.dumps(found).encode()
        kept = {name: value for name, value in response.headers.items() if name.lower() not in DROPPED}
        return web.Response(status=response.status, body=said, headers=kept)


def bearer(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


async def for_ever() -> None:
    """What somebody waits for who is killed meanwhile."""
    await asyncio.Event().wait()


def limited(**more: Any) -> web.Response:
    """A 429."""
    headers = {"Retry-After": str(more.pop("header"))} if "header" in more else {}
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", **more}
    return web.json_response(body, status=429, headers=headers)
