"""What the forge's own git server is asked for the rooms, with the token where it may be used, and what comes back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from roommate.errors import ForgeError
from roommate.features.github.forge import Site
from roommate.features.github.git_wire import COMMANDS_BYTES, BadPush, judgeable
from roommate.tunnels.http_forward import Upstream, fields
from roommate.tunnels.request_body_stream import RequestRefused

if TYPE_CHECKING:
    from aiohttp import web

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
"""git's two services."""

ANSWER_BYTES = 8 << 30
SILENT_SECONDS = 300.0

_GOES = re.compile(r"accept|content-(type|encoding)|git-protocol|user-agent")
_COMES = re.compile(r"content-type|cache-control")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of the forge: a path of a repository, for one of git's two services."""

    name: str
    path: str
    service: str
    granted: bool
    """The room may use the token for it."""


class GitUpstream:
    """Of all rooms."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._upstream = Upstream(_COMES, silent_seconds=SILENT_SECONDS, answer_bytes=ANSWER_BYTES)

    async def close(self) -> None:
        await self._upstream.close()

    async def forward(
        self,
        request: web.BaseRequest,
        to: Target,
        body: AsyncIterable[bytes] | None = None,
        size: int | None = 0,
    ) -> web.StreamResponse:
        """Ask the forge, and stream what it answers. `size` is that of the body, None where nobody knows it yet.

        Raises RequestRefused, ForgeError, aiohttp.ClientError, TimeoutError; ConnectionAbortedError in mid-answer.
        """
        headers = fields(request.headers, _GOES)
        if to.service == PUSH:
            headers.pop("Git-Protocol", None)  # the newer forms of a push's first answer are none that is read here
        if to.granted and self._site.token:
            headers["Authorization"] = self._site.basic
        url = URL(f"{self._site.server}/{to.name}.git/{to.path}", encoded=True)
        query = {"service": to.service} if request.method == "GET" else {}
        async with self._upstream.ask(request.method, url, query, headers, body, size) as answer:
            if answer.status != 200 or not answer.content_type.startswith("application/x-git-"):
                raise await self._refused(answer, to)
            pieces = answer.content.iter_any()
            first = await _first(pieces) if query and to.service == PUSH else b""
            return await self._upstream.give(request, answer, _behind(first, pieces))

    async def _refused(self, answer: aiohttp.ClientResponse, to: Target) -> RequestRefused:
        """What to tell of an answer that is none of git; never with a header that asks for a password."""
        name, server = to.name, self._site.server
        if answer.status in (401, 404) and not to.granted:
            return RequestRefused(
                404, f"{server} has no {name}, or does not show it to everybody. {how_to_grant(name)}"
            )
        if answer.status == 401:
            return RequestRefused(403, f"{server} does not take the GITHUB_TOKEN: the operator must set another")
        if answer.status == 404:
            return RequestRefused(404, f"{server} has no {name}, or the GITHUB_TOKEN may not see it")
        if 300 <= answer.status < 400:
            return RequestRefused(404, f"{name} is at another place of {server} by now: use its new name")
        text = (await answer.content.read(4096)).decode(errors="replace")
        told = self._site.hidden(text) if answer.content_type == "text/plain" else ""
        line = " ".join(re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", told).split())[:300]
        return RequestRefused(502, f"{server} answered with status {answer.status}{f': {line}' if line else ''}")


async def _behind(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """The beginning of what the forge says about pushes, mended. Raises ForgeError."""
    came = b""
    try:
        async for piece in pieces:
            came += piece
            if (mended := judgeable(came)) is not None:
                return mended
            if len(came) > COMMANDS_BYTES:
                break
    except BadPush as error:
        raise ForgeError(f"the forge does not answer as git does: {error}") from error
    raise ForgeError("the forge does not answer as git does")


def how_to_grant(name: str) -> str:
    return f"An operator lets this room use it with `!repo add {name}`."
