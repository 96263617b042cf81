"""What the forge's own git server is asked for the rooms, with the token where it may be used, and what comes back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from yarl import URL

from roommate.errors import ForgeError
from roommate.features.github.forge import Site
from roommate.features.github.git_wire import COMMANDS_BYTES, BadPush, judgeable
from roommate.net import outbound_http

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
"""git's two services."""

ANSWER_BYTES = 8 << 30
SILENT_SECONDS = 300.0
TOTAL_SECONDS = 3600.0

_GOES = re.compile(r"accept|content-(type|encoding)|git-protocol|user-agent")
_COMES = re.compile(r"content-type|cache-control")


class Refused(Exception):
    """One line for whoever typed the git command."""

    def __init__(self, why: str, status: int = 403) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of the forge: a path of a repository, for one of git's two services."""

    name: str
    path: str
    service: str
    granted: bool
    """The room may use the token for it."""


class Upstream:
    """Of all rooms."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def forward(
        self,
        request: web.BaseRequest,
        to: Target,
        body: AsyncIterable[bytes] | None = None,
        size: int | None = 0,
    ) -> web.StreamResponse:
        """Ask the forge, and stream what it answers. `size` is that of the body, None where nobody knows it yet.

        Raises Refused, ForgeError, aiohttp.ClientError, TimeoutError; ConnectionAbortedError in mid-answer.
        """
        sent = {name: value for name, value in request.headers.items() if _GOES.fullmatch(name.lower())}
        sent["Accept-Encoding"] = "identity"
        if to.service == PUSH:
            sent.pop("Git-Protocol", None)  # the newer forms of a push's first answer are none that is read here
        if size:
            sent["Content-Length"] = str(size)
        if to.granted and self._site.token:
            sent["Authorization"] = self._site.basic
        url = URL(f"{self._site.server}/{to.name}.git/{to.path}", encoded=True)
        query = {"service": to.service} if request.method == "GET" else None
        async with self._opened().request(
            request.method, url, params=query, headers=sent, data=None if size == 0 else body, allow_redirects=False
        ) as answer:
            if answer.status != 200 or not answer.content_type.startswith("application/x-git-"):
                raise await self._refused(answer, to)
            kept = {name: value for name, value in answer.headers.items() if _COMES.fullmatch(name.lower())}
            pieces = answer.content.iter_any()
            first = await _first(pieces) if query and to.service == PUSH else b""
            response = web.StreamResponse(headers=kept)
            try:
                await response.prepare(request)
                await response.write(first)
                came = 0
                async for piece in pieces:
                    came += len(piece)
                    if came > ANSWER_BYTES:
                        raise ConnectionAbortedError("an answer without an end")
                    await response.write(piece)
                await response.write_eof()
            except (aiohttp.ClientError, TimeoutError) as error:  # the half that is out cannot be taken back
                raise ConnectionAbortedError("the forge broke off") from error
            return response

    async def _refused(self, answer: aiohttp.ClientResponse, to: Target) -> Refused:
        """What to tell of an answer that is none of git; never with a header that asks for a password."""
        name, server = to.name, self._site.server
        if answer.status in (401, 404) and not to.granted:
            return Refused(f"{server} has no {name}, or does not show it to everybody. {how_to_grant(name)}", 404)
        if answer.status == 401:
            return Refused(f"{server} does not take the GITHUB_TOKEN: the operator must set another")
        if answer.status == 404:
            return Refused(f"{server} has no {name}, or the GITHUB_TOKEN may not see it", 404)
        if 300 <= answer.status < 400:
            return Refused(f"{name} is at another place of {server} by now: use its new name", 404)
        text = (await answer.content.read(4096)).decode(errors="replace")
        told = self._site.hidden(text) if answer.content_type == "text/plain" else ""
        line = " ".join(re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", told).split())[:300]
        return Refused(f"{server} answered with status {answer.status}{f': {line}' if line else ''}", 502)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=10, sock_read=SILENT_SECONDS)
            self._session = outbound_http.session(
                at_once=0, timeout=timeout, auto_decompress=False, read_bufsize=1 << 18
            )
        return self._session


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
