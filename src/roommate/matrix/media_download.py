"""What people send that is no text: read from the media repository piece by piece, never more than is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from aiohttp import ClientResponse

from roommate.domain import SentFile
from roommate.errors import Refused
from roommate.host import deadlines
from roommate.matrix.crypto.attachments import Decryption
from roommate.matrix.error_mapping import NotMatrix, lost
from roommate.matrix.homeserver import Homeserver
from roommate.net.outbound_http import NETWORK_ERRORS
from roommate.text.amounts import size

PIECE = 64 << 10
FIRST_BYTE_SECONDS = 60.0
"""A homeserver fetches first what another one has."""
THUMBNAIL = "width=1280&height=1280&method=scale"

_MXC = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,230})/([A-Za-z0-9_-]{1,255})")
_PLACES = ("/_matrix/client/v1/media", "/_matrix/media/v3")
"""The second is for homeservers of before spec v1.11, which want no login for media."""


@dataclass(frozen=True, slots=True)
class Patience:
    """A server that trickles is not listened to for ever."""

    silent: float = 30.0
    """Seconds between two pieces."""
    least: float = 60.0
    """Seconds that any file may take, and so much more as it has bytes."""
    bytes_per_second: float = 100_000


PATIENT = Patience()


class Media:
    """Of one homeserver. What it gives raises Transient or Refused, as `Homeserver` does."""

    def __init__(self, homeserver: Homeserver, patience: Patience = PATIENT) -> None:
        self._homeserver, self._patience = homeserver, patience

    async def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]:
        """A file as it was before its sender encrypted it. Who uses less than all of it closes the generator.

        Refused (M_TOO_LARGE) where it has more than `most` bytes, be it later than its event or its header says.
        """
        if file.size > most:
            raise _too_large(file.size, most)
        async with contextlib.aclosing(self._downloaded("download", "", file.url, file.size, most)) as sent:
            async for piece in _decrypted(file, sent):
                yield piece

    async def thumbnail(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]:
        """A picture made smaller by the homeserver, as a PNG or JPEG. There is none of what is encrypted: Refused."""
        if file.key is not None:
            raise Refused("the homeserver cannot make an encrypted picture smaller")
        async with contextlib.aclosing(self._downloaded("thumbnail", THUMBNAIL, file.url, 0, most)) as sent:
            async for piece in sent:
                yield piece

    async def _downloaded(self, what: str, query: str, url: str, said: int, most: int) -> AsyncGenerator[bytes, None]:
        """As it lies there. `said` is how many bytes its event says that it has."""
        if (place := _MXC.fullmatch(url)) is None or set(place[1]) == {"."}:
            raise Refused(f"its address is none of the media repository: {url[:100]!r}")
        response = await self._opened(f"{what}/{place[1]}/{place[2]}" + (f"?{query}" if query else ""))
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience.least + (said or most) / self._patience.bytes_per_second
        try:
            if (length := response.content_length or 0) > most:
                raise _too_large(length, most)
            got, pieces = 0, response.content.iter_chunked(PIECE)
            while piece := await _next(pieces, min(until, clock() + self._patience.silent)):
                if (got := got + len(piece)) > most:
                    raise _too_large(got, most, at_least=True)
                yield piece
        finally:
            response.close()

    async def _opened(self, path: str) -> ClientResponse:
        new, old = _PLACES
        try:
            return await self._homeserver.open("give a file", f"{new}/{path}", FIRST_BYTE_SECONDS)
        except (Refused, NotMatrix) as error:
            if isinstance(error, Refused) and error.errcode != "M_UNRECOGNIZED":
                raise
            return await self._homeserver.open("give a file", f"{old}/{path}", FIRST_BYTE_SECONDS)


async def _next(pieces: AsyncIterator[bytes], until: float) -> bytes:
    """The next piece, nothing at the end. `until` is the event loop's time at which it has to be here."""
    try:
        async with deadlines.at(until):
            return await anext(pieces, b"")
    except TimeoutError as error:
        raise Refused("the homeserver gives it too slowly") from error
    except NETWORK_ERRORS as error:
        raise lost("give a file", error) from error


async def _decrypted(file: SentFile, sent: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What was sent, readable: the one place where that is done. Where a whole file turns out to be wrong at its end,
    this raises Refused there, and nothing of it is kept."""
    decryption = None if file.key is None else Decryption(file.key)
    async for piece in sent:
        yield piece if decryption is None else decryption.piece(piece)
    if decryption is not None:
        decryption.end()


def _too_large(length: int, most: int, *, at_least: bool = False) -> Refused:
    more = "more than " if at_least else ""
    told = size(most) if at_least else size(length)
    return Refused(f"it has {more}{told}, and I take files of {size(most)} at most", "M_TOO_LARGE")
