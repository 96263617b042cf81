"""A proxy between a bot and the real homeserver that meddles: answers in its place, or changes what it says."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from roommate.demo.instance import free_port

JsonObject = dict[str, Any]
_HOP = {"transfer-encoding", "content-encoding", "content-length", "connection", "host"}


class Meddler:
    """Use as an async context manager; `url` is where it listens.

    `instead` is asked first: what it gives is the answer. `change` may change the JSON of an answer, given the path.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.url = ""
        self.instead: Callable[[web.Request], Awaitable[web.Response | None]] = _nothing
        self.change: Callable[[str, JsonObject], None] = lambda path, answer: None
        self.asked: list[str] = []
        """Method and path of every request."""

    async def __aenter__(self) -> Self:
        app, port = web.Application(client_max_size=100 << 20), free_port()
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=True)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if (answer := await self.instead(request)) is not None:
            return answer
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._upstream + request.raw_path
        async with self._http.request(request.method, url, headers=headers, data=await request.read()) as said:
            body = await said.read()
            kept = {name: value for name, value in said.headers.items() if name.lower() not in _HOP}
            if said.content_type == "application/json":
                answered = json.loads(body)
                self.change(request.path, answered)
                body = json.dumps(answered).encode()
            return web.Response(status=said.status, body=body, headers=kept)


async def _nothing(request: web.Request) -> None:
    return None


def limited(**more: Any) -> web.Response:
    """A 429."""
    headers = {"Retry-After": str(more.pop("header"))} if "header" in more else {}
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", **more}
    return web.json_response(body, status=429, headers=headers)
