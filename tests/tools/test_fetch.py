"""fetch_url: a page as a model reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from roommate.tools.fetch_program import Text
from tests.live_hand import live_hand
from tests.tools.test_room_tools import KEEP, Room

PAGE = """<!doctype html><html><head><title>A &amp; B</title><style>p { color: red }</style></head><body>
<script>alert("no")</script><h2>Head  line</h2><p>One <b>two</b>
three.</p><ul><li>first</li><li><a href="/there?x=1">second</a></li></ul><pre>a
  b</pre><a href="javascript:x()">button</a></body></html>"""
AS_TEXT = "## Head line\n\nOne two three.\n\n- first\n\n- second <http://a.test/there?x=1>\n\na\n  b\nbutton"


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with live_hand() as hand:
        yield Room(hand)


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Its pages: /page, /data, /missing, /binary, /long, /moved, /slow."""

    async def serve(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/page":
                return web.Response(text=PAGE, content_type="text/html")
            case "/data":
                return web.json_response({"a": "ü"})
            case "/binary":
                return web.Response(body=bytes(range(256)), content_type="application/octet-stream")
            case "/long":
                return web.Response(text="x" * KEEP * 5)
            case "/moved":
                raise web.HTTPFound("/data")
        return web.Response(status=404, text="nothing here")

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_page_is_read_as_text(room: Room, site: str) -> None:
    result = await room.call("fetch_url", url=f"{site}/page")
    assert result.ok
    head, _, text = result.text.partition("\n\n")
    assert head == f"HTTP 200 · text/html · {site}/page"
    assert text.strip() == "A & B\n\n" + AS_TEXT.replace("http://a.test", site)
    assert result.title == "HTTP 200 · text/html"


async def test_other_kinds(room: Room, site: str) -> None:
    moved, missing, binary = await asyncio.gather(
        *(room.call("fetch_url", url=f"{site}/{path}") for path in ("moved", "missing", "binary"))
    )
    assert moved.ok
    assert moved.text.startswith(f"HTTP 200 · application/json · {site}/data\n\n")
    assert not missing.ok
    assert missing.text.startswith("HTTP 404 · text/plain")
    assert "nothing here" in missing.text
    assert "no text" in binary.text


async def test_a_long_page_is_cut_and_whole_in_a_file(room: Room, site: str) -> None:
    result = await room.call("fetch_url", url=f"{site}/long")
    assert len(result.text) < KEEP + 500
    [kept] = (room.files / ".roommate" / "output").glob("*.txt")
    assert kept.name in result.text
    assert "x" * KEEP * 5 in kept.read_text()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.test/", "example.org", "http://", "http://[", "http://a.invalid/"]
)
async def test_what_cannot_be_fetched_says_why(room: Room, url: str) -> None:
    result = await room.call("fetch_url", url=url)
    assert not result.ok
    assert url in result.text


def test_broken_html_is_read_as_far_as_it_goes() -> None:
    for cut in range(len(PAGE)):
        page = Text("http://a.test/")
        page.feed(PAGE[:cut])
        page.close()
        page.text()
    whole = Text("http://a.test/")
    whole.feed(PAGE)
    assert whole.text() == AS_TEXT
    unclosed = Text("http://a.test/")
    unclosed.feed("<head><title>x</title><body></p></a></ul>shown</pre><li>")
    assert "shown" in unclosed.text()


@pytest.mark.parametrize(
    "odd", ['<a href="http://[x">a link</a>', "<![odd thing]>a link", "<![ ]>a link", "<![CDATA[>a link"]
)
def test_a_page_with_one_odd_thing_is_read_all_the_same(odd: str) -> None:
    page = Text("http://a.test/")
    page.feed(f"<p>before</p>{odd}<p>behind</p>")
    page.close()
    text = page.text()
    assert text.startswith("before")
    assert "a link" in text
    assert text.endswith("behind")
