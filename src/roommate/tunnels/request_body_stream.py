"""What a room's request brings, passed on as it comes: of no request more is here than the piece on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from roommate.host import deadlines

if TYPE_CHECKING:
    from aiohttp import web


class RequestRefused(Exception):
    """What a room asked for is not done: an HTTP status, and one line for whoever asked."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Body:
    """Iterate over it, once. It raises RequestRefused when it is too long or too slow, and keeps that in `bad`: an HTTP
    client that sends it tells its own caller of a broken connection instead."""

    def __init__(self, request: web.BaseRequest, *, most: int, seconds: float) -> None:
        """`most` bytes may come, within so many seconds. Raises RequestRefused at once where the request says that
        it has more."""
        self.size = request.content_length if request.body_exists else 0
        """In bytes; None where the request does not say."""
        self.bad: RequestRefused | None = None
        self._content, self._most, self._seconds = request.content, most, seconds
        if self.size is not None and self.size > most:
            raise self._too_long()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came, until = 0, asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                async with deadlines.at(until):
                    piece = await self._content.readany()
            except TimeoutError:
                self.bad = RequestRefused(408, f"a request has {self._seconds:.0f} s to come")
                raise self.bad from None
            if not piece:
                return
            came += len(piece)
            if came > self._most:
                raise self._too_long()
            yield piece

    def _too_long(self) -> RequestRefused:
        self.bad = RequestRefused(413, f"a request may have {self._most >> 20} MiB")
        return self.bad
