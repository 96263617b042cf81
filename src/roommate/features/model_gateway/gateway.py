"""The model gateway: what coding agents ask of a provider goes through here, where the key is added."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Protocol

import aiohttp
from yarl import URL

from roommate.domain import RoomId, Usage
from roommate.errors import StateError
from roommate.features.model_gateway.providers import Provider
from roommate.features.model_gateway.token_usage import Counter
from roommate.monitoring.counting_ports import UsageStore
from roommate.tunnels.http_forward import Upstream, fields
from roommate.tunnels.http_server import Servers
from roommate.tunnels.request_body_stream import Body, RequestRefused

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

PORT = 8080
"""Of the container's 127.0.0.1."""

BODY_BYTES = 32 << 20
ANSWER_BYTES = 256 << 20
BODY_SECONDS = 300.0
"""Who is slower holds a connection to a provider open for nothing."""
AT_ONCE = 32
"""Requests of one room."""
SILENT_SECONDS = 600.0
"""A model may think for long before it says something."""

_ASKED = re.compile(r"/([a-z]+)(?:\+([a-z][a-z0-9-]{0,30}))?(/[^?#]*)")
_MODEL = re.compile(rb'"model"\s*:\s*"([\w./:@-]{1,100})"')
_MODEL_BYTES = 200
"""Whatever that matches is shorter."""
_AGENT = re.compile(r"[A-Za-z][\w-]{0,30}")
_GOES = re.compile(
    r"accept|content-(type|encoding)|user-agent|http-referer|x-title|(anthropic|openai)-.*|x-goog-api-client"
)
_COMES = re.compile(r"content-type|retry-after(-ms)?|(x-)?request-id|(anthropic|x)-ratelimit-.*|openai-.*")
_FREE = ("countTokens", "count_tokens")
"""Ends of paths that ask no model."""
_SECRET_QUERY = ("key", "api_key", "access_token", "token")


class Budget(Protocol):
    """Of all rooms: whether a model may be asked. Raises StateError."""

    async def over(self, room_id: RoomId) -> str:
        """Why none may be; empty where one may."""
        ...

    async def look(self, room_id: RoomId) -> None:
        """Something was spent."""
        ...


class NoBudget:
    """`Budget`: whatever a room wants."""

    async def over(self, room_id: RoomId) -> str:
        return ""

    async def look(self, room_id: RoomId) -> None:
        pass


NO_BUDGET = NoBudget()


class Gateway:
    """Of all rooms. A room's ``http://127.0.0.1:PORT/PROVIDER/…`` is that provider's API; with ``PROVIDER+AGENT`` an
    agent says who it is, else its User-Agent does. Whatever key a request has is dropped."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        log: UsageStore,
        budget: Budget = NO_BUDGET,
        *,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._providers, self._budget = dict(providers), budget
        self._log, self._body_seconds = log, body_seconds
        self._upstream = Upstream(_COMES, silent_seconds=SILENT_SECONDS, answer_bytes=ANSWER_BYTES)
        self._servers = Servers(self._handle)
        self.serve = self._servers.serve
        self._running: dict[RoomId, int] = {}

    async def close(self) -> None:
        await self._servers.close()
        await self._upstream.close()

    async def _handle(self, room_id: RoomId, request: web.BaseRequest) -> web.StreamResponse:
        asked = _ASKED.fullmatch(request.rel_url.raw_path)
        provider = self._providers.get(asked[1]) if asked else None
        if asked is None or provider is None:
            there = ", ".join(f"/{name}" for name in sorted(self._providers)) or "none: the operator has set no key"
            return _error(404, f"there is no such provider here; there are: {there}")
        if why := await self._budget.over(room_id):
            return _error(403, why)
        path = provider.paths.fullmatch(f"{request.method} {asked[3]}")
        if path is None:
            return _error(403, f"{request.method} {asked[3]} of {provider.name} is not let through")
        if self._running.get(room_id, 0) >= AT_ONCE:
            return _error(429, f"this room has {AT_ONCE} requests to models running: wait for one to end")
        groups = path.groupdict()
        try:
            body = _Prompt(Body(request, most=BODY_BYTES, seconds=self._body_seconds), groups.get("model") or "")
        except RequestRefused as bad:
            return _error(bad.status, str(bad))
        agent = asked[2] or _agent(request.headers.get("User-Agent", ""))
        url = URL(provider.base + (groups.get("post") or groups.get("get") or ""), encoded=True)
        self._running[room_id] = self._running.get(room_id, 0) + 1
        try:
            return await self._forward(room_id, provider, request, url, body, agent)
        except aiohttp.ClientError as error:
            if body.bad is not None:
                return _error(body.bad.status, str(body.bad))
            log.warning("%s did not answer: %s", provider.name, type(error).__name__)
            return _error(502, f"{provider.name} cannot be reached ({type(error).__name__})")
        except TimeoutError:
            return _error(504, f"{provider.name} did not answer in time")
        finally:
            self._running[room_id] -= 1

    async def _forward(
        self,
        room_id: RoomId,
        provider: Provider,
        request: web.BaseRequest,
        url: URL,
        body: _Prompt,
        agent: str,
    ) -> web.StreamResponse:
        headers = {**fields(request.headers, _GOES), provider.header: provider.credential}
        query = [(name, value) for name, value in request.query.items() if name.lower() not in _SECRET_QUERY]
        counter = Counter()

        async def counted(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
            async for piece in content.iter_any():
                counter.feed(piece)
                yield piece

        taken, whole = request.method == "POST" and not url.raw_path.endswith(_FREE), False
        try:
            async with self._upstream.ask(request.method, url, query, headers, body, body.size) as answer:
                if answer.status >= 300:
                    taken = False
                    return await _refused(provider, answer, self._upstream.headers(answer))
                given = await self._upstream.give(request, answer, counted(answer.content))
                whole = True
                return given
        except (aiohttp.ClientError, TimeoutError):  # it has not answered
            taken = False
            raise
        finally:
            if taken:  # also of who hangs up before it answers
                await self._count(room_id, agent, body.model, counter.usage(body.passed, whole=whole))

    async def _count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None:
        try:
            await self._log.count(room_id, agent, model, usage)
            await self._budget.look(room_id)
        except StateError as error:
            log.warning("what %s used was not counted: %s", agent, error)


class _Prompt:
    """A request's body on its way to a provider, which tells the model that it names as it passes by."""

    def __init__(self, body: Body, model: str) -> None:
        """`model` is what the request's path says, if anything."""
        self._body, self.model = body, model
        self.size = body.size
        self.passed = 0
        """Bytes."""

    @property
    def bad(self) -> RequestRefused | None:
        return self._body.bad

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = b""
        async for piece in self._body:
            self.passed += len(piece)
            if not self.model:
                seen = seen[-_MODEL_BYTES:] + piece
                if named := _MODEL.search(seen):
                    self.model = named[1].decode()
            yield piece


async def _refused(provider: Provider, answer: aiohttp.ClientResponse, headers: dict[str, str]) -> web.Response:
    """An error of the provider, without our key, should it say it."""
    from aiohttp import web

    text = await answer.content.read(1 << 16)
    text = text.replace(provider.key.encode(), b"[key]")
    headers = {name: value.replace(provider.key, "[key]") for name, value in headers.items()}
    status = answer.status if answer.status >= 400 else 502
    return web.Response(status=status, body=text, headers=headers)


def _error(status: int, why: str) -> web.Response:
    """In the shape that every provider's client shows: ``error.message``."""
    from aiohttp import web

    text = json.dumps({"error": {"message": f"Roommate: {why}", "type": "roommate", "code": status}})
    return web.Response(status=status, text=text, content_type="application/json")


def _agent(user_agent: str) -> str:
    match = _AGENT.match(user_agent)
    return match[0].lower() if match else "unknown"
