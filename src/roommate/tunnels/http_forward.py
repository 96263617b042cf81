"""What rooms ask over HTTP, asked of servers outside, and their answers streamed back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from roommate.net.outbound_http import LazySession

if TYPE_CHECKING:
    from aiohttp import web

TOTAL_SECONDS = 3600.0
"""For a request and its whole answer."""


class Upstream:
    """Servers of one kind, for all rooms."""

    def __init__(self, comes: re.Pattern[str], *, silent_seconds: float, answer_bytes: int) -> None:
        """Of an answer's fields go to the room those whose names `comes` matches. It may have so many bytes, and
        nothing may come of it for so long."""
        self._comes, self._answer_bytes = comes, answer_bytes
        timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=10, sock_read=silent_seconds)
        self._session = LazySession(at_once=0, timeout=timeout, auto_decompress=False, read_bufsize=1 << 18)
        self.close = self._session.close

    def ask(
        self,
        method: str,
        url: URL,
        query: Mapping[str, str] | list[tuple[str, str]],
        headers: Mapping[str, str],
        body: AsyncIterable[bytes] | None,
        size: int | None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """With these headers and no others. `size` is that of the body, None where nobody knows it yet.

        Raises aiohttp.ClientError, TimeoutError.
        """
        length = {"Content-Length": str(size)} if size else {}
        return self._session().request(
            method,
            url,
            params=query,
            headers={**headers, **length, "Accept-Encoding": "identity"},
            data=None if size == 0 else body,
            allow_redirects=False,
        )

    def headers(self, answer: aiohttp.ClientResponse) -> dict[str, str]:
        """Those that go to the room."""
        return fields(answer.headers, self._comes)

    async def give(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, pieces: AsyncIterable[bytes]
    ) -> web.StreamResponse:
        """Answer a room's request with `pieces`. Raises ConnectionAbortedError where they break off: the half that is
        out cannot be taken back."""
        from aiohttp import web

        response = web.StreamResponse(status=answer.status, headers=self.headers(answer))
        came = 0
        try:
            await response.prepare(request)
            async for piece in pieces:
                came += len(piece)
                if came > self._answer_bytes:
                    raise ConnectionAbortedError("an answer without an end")
                await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionAbortedError(f"{answer.url.host} broke off") from error
        return response


def fields(headers: Mapping[str, str], wanted: re.Pattern[str]) -> dict[str, str]:
    """Those whose names, in lower case, match."""
    return {name: value for name, value in headers.items() if wanted.fullmatch(name.lower())}
