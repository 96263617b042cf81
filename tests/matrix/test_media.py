"""Files of the media repository, from homeservers that mean well, and from those that do not."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from roommate.domain import SentFile, UserId
from roommate.errors import Refused, Transient
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.media_download import Media, Patience

FILE = SentFile("a.bin", "mxc://example.org/abc")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def media(handler: Handler, patience: Patience = Patience(silent=0.3, least=0.6)) -> AsyncIterator[Media]:  # noqa: B008
    """Of a homeserver that answers everything with this."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    homeserver = Homeserver(f"http://127.0.0.1:{runner.addresses[0][1]}", UserId("@bot:example.org"))
    try:
        yield Media(homeserver, patience)
    finally:
        await homeserver.close()
        await runner.cleanup()


async def read(given: Media, file: SentFile = FILE, most: int = 1 << 20) -> bytes:
    async with contextlib.aclosing(given.pieces(file, most)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_homeserver_of_before_authenticated_media_is_asked_where_it_has_them() -> None:
    asked: list[str] = []

    async def old(request: web.Request) -> web.Response:
        asked.append(request.path)
        if "/client/v1/" in request.path:
            return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "?"}, status=404)
        return web.Response(body=b"here")

    async with media(old) as given:
        assert await read(given) == b"here"
    assert asked == [
        "/_matrix/client/v1/media/download/example.org/abc",
        "/_matrix/media/v3/download/example.org/abc",
    ]


async def test_more_than_is_wanted_is_not_read() -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in itertools.count():
            await response.write(bytes(1 << 16))
            written += 1 << 16
        return response

    async with media(endless) as given:
        with pytest.raises(Refused, match="more than 1 MiB"):
            await read(given)
    assert written < 32 << 20

    async def says_so(request: web.Request) -> web.Response:
        return web.Response(body=bytes(2 << 20))

    async with media(says_so) as given:
        with pytest.raises(Refused, match="it has 2 MiB, and I take files of 1 MiB at most"):
            await read(given)
        with pytest.raises(Refused, match="it has 3 MiB"):
            await read(given, SentFile("a", FILE.url, size=3 << 20))


async def test_a_server_that_trickles_or_falls_silent_is_left() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b".")
            await asyncio.sleep(0.05 if request.path.endswith("trickles") else 60)
        return response

    async with media(slow) as given:
        for name in ("trickles", "silent"):
            with pytest.raises(Refused, match="too slowly"):
                await read(given, SentFile("a", f"mxc://example.org/{name}", size=1))


async def test_what_breaks_off_or_is_not_there_yet_may_come_later() -> None:
    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with media(breaks_off) as given:
        with pytest.raises(Transient):
            await read(given)

    async def away(request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_NOT_YET_UPLOADED", "error": "wait"}, status=504)

    async with media(away) as given:
        with pytest.raises(Transient, match="M_NOT_YET_UPLOADED"):
            await read(given)


@pytest.mark.parametrize(
    "url", ["", "https://example.org/a", "mxc://example.org/../../v3/sync", "mxc://../..", "mxc://a/b/c", "mxc://./b"]
)
async def test_an_address_is_one_of_the_media_repository(url: str) -> None:
    async def nothing(request: web.Request) -> web.Response:
        raise AssertionError(f"{request.path} was asked for")

    async with media(nothing) as given:
        with pytest.raises(Refused, match="its address is none"):
            await read(given, SentFile("a", url))
