"""The model gateway: what comes to a provider, what comes back, what is counted, and where a key never is."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from roommate.demo.synapse_config import free_port
from roommate.domain import RoomId, Usage
from roommate.features.model_gateway.gateway import BODY_BYTES, Gateway
from roommate.features.model_gateway.providers import KINDS, providers
from roommate.features.model_gateway.token_usage import Counter
from tests.broker.conftest import ROOM, Memory, connect, server
from tests.live_hand import LiveHand
from tests.patience import PATIENCE, until

KEY = "sk-canary-7d1f"
GEMINI, STREAM = "/gemini", "/v1beta/models/g:streamGenerateContent"


class Upstream:
    """A provider on the loopback: keeps what it was asked; answers what `answer` says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Any = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        self.status = 200
        self.before, self.go_on = asyncio.Event(), asyncio.Event()
        self.before.set()
        self.hung_up = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        await self.before.wait()
        if not isinstance(self.answer, list):
            return web.json_response(
                self.answer, status=self.status, headers={"Set-Cookie": "a=b", "X-Request-Id": "r1"}
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for piece in self.answer:
                await response.write(piece)
                await self.go_on.wait()
                self.go_on.clear()
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise
        return response


class Budget:
    """One that a test ends."""

    def __init__(self) -> None:
        self.why, self.looked = "", 0

    async def over(self, room_id: RoomId) -> str:
        return self.why

    async def look(self, room_id: RoomId) -> None:
        self.looked += 1


class Ways:
    """A gateway to that provider under all its names, for the room behind `url`."""

    def __init__(self, hand: LiveHand, upstream: Upstream, base: str) -> None:
        self.upstream, self.memory, self.base = upstream, Memory(), base
        self.budget = Budget()
        known = providers(dict.fromkeys(KINDS, KEY), dict.fromkeys(KINDS, base))
        self.gateway = Gateway(known, self.memory, self.budget)
        port = free_port()
        hand.host.serve(port, functools.partial(self.gateway.serve, ROOM))
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture
async def ways(hand: LiveHand) -> AsyncIterator[Ways]:
    upstream = Upstream()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", upstream.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ways = Ways(hand, upstream, f"http://127.0.0.1:{runner.addresses[0][1]}/base")
    assert (await hand.host.run(["true"])).code == 0  # so that its ports are open
    yield ways
    await ways.gateway.close()
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.mark.parametrize(
    ("method", "asked", "comes_to", "header"),
    [
        ("POST", f"{GEMINI}{STREAM}?alt=sse&key=mine", f"/base{STREAM}?alt=sse", "x-goog-api-key"),
        ("POST", "/gemini/v1/models/g-2:generateContent", "/base/v1/models/g-2:generateContent", "x-goog-api-key"),
        ("POST", f"{GEMINI}/v1/models/g:countTokens", "/base/v1/models/g:countTokens", "x-goog-api-key"),
        ("POST", "/openai/v1/chat/completions", "/base/chat/completions", "Authorization"),
        ("POST", "/openai+codex/responses", "/base/responses", "Authorization"),
        ("GET", "/openai/v1/models", "/base/models", "Authorization"),
        ("GET", "/openai/v1/models/a.b:c/d", "/base/models/a.b:c/d", "Authorization"),
        ("POST", "/anthropic/v1/messages?beta=true", "/base/v1/messages?beta=true", "x-api-key"),
        ("POST", "/anthropic/v1/messages/count_tokens", "/base/v1/messages/count_tokens", "x-api-key"),
        ("POST", "/openrouter/api/v1/chat/completions", "/base/chat/completions", "Authorization"),
        ("POST", "/dashscope/compatible-mode/v1/chat/completions", "/base/chat/completions", "Authorization"),
        ("POST", "/dashscope/v1/chat/completions", "/base/chat/completions", "Authorization"),
    ],
)  # fmt: skip
async def test_a_request_arrives_with_our_key_and_no_other(
    ways: Ways, client: aiohttp.ClientSession, method: str, asked: str, comes_to: str, header: str
) -> None:
    mine = dict.fromkeys(
        ("Authorization", "x-api-key", "x-goog-api-key", "api-key", "Cookie", "X-Forwarded-For"), "mine"
    )
    mine |= {"anthropic-version": "2023-06-01", "User-Agent": "some-cli/1.0", "Content-Type": "application/json"}
    body = b"" if method == "GET" else b'{"model": "m-1"}'
    async with client.request(method, ways.url + asked, headers=mine, data=body or None) as answer:
        assert answer.status == 200
        assert await answer.json() == ways.upstream.answer
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["X-Request-Id"] == "r1"
    ((came_method, path, headers, came_body),) = ways.upstream.asked
    assert (came_method, path, came_body) == (method, comes_to, body)
    assert headers[header].endswith(KEY)
    assert "mine" not in str(headers)
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["Host"] == ways.base.split("/")[2]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/nobody/v1/chat/completions", 404),
        ("GET", "/openai/v1/files", 403),
        ("POST", "/openai/v1/images/generations", 403),
        ("DELETE", "/openai/v1/models/x", 403),
        ("GET", "/openai/v1/models/../files", 403),
        ("POST", "/openai/v1/%2e%2e/chat/completions", 403),
        ("POST", "/gemini/v1beta/models/../files:generateContent", 403),
        ("POST", "/gemini/upload/v1beta/files", 403),
        ("POST", "/gemini/v1beta/tunedModels/x:generateContent", 403),
        ("POST", "/anthropic/v1/organizations", 403),
        ("POST", "/anthropic/v1/messages/batches", 403),
    ],
)
async def test_other_paths_are_not_let_through(
    ways: Ways, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with client.request(method, URL(f"{ways.url}{path}", encoded=True)) as answer:
        assert answer.status == status
        assert "Roommate: " in (await answer.json())["error"]["message"]
    assert ways.upstream.asked == []


async def test_a_stream_passes_piece_by_piece_and_is_counted(ways: Ways, client: aiohttp.ClientSession) -> None:
    pieces = [
        b'data: {"message":{"usage":{"input_tokens":25,"cache_read_input_tokens":100,"output_tokens":1}}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"text":"say \\"output_tokens\\": 999"}}\n\n',
        b'data: {"type":"message_delta","usage":{"output_tokens":15}}\n\n',
    ]
    ways.upstream.answer = pieces
    got = []
    url = f"{ways.url}/anthropic+claude/v1/messages"
    async with client.post(url, json={"model": "claude-x", "stream": True}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        async for piece in answer.content.iter_any():
            got.append(piece)
            ways.upstream.go_on.set()
    assert got == pieces
    await until(lambda: ways.memory.counted)
    assert ways.memory.counted == [("claude", "claude-x", Usage(125, 15, cached_tokens=100))]
    await until(lambda: ways.budget.looked == 1)


async def test_what_does_not_say_its_tokens_is_counted_by_its_size(ways: Ways, client: aiohttp.ClientSession) -> None:
    """Else a room asks for as much as it likes, by a request for a stream without counts, or by not hearing the end."""
    ways.upstream.answer, asked = [b'data: {"delta":"a"}\n\n'] * 10, {"model": "m", "prompt": "x" * 4000}
    url = f"{ways.url}/openai+mine/v1/chat/completions"
    async with client.post(url, json=asked) as answer:
        async for _ in answer.content.iter_any():
            ways.upstream.go_on.set()
    (counted,) = await until(lambda: ways.memory.counted)
    assert counted == ("mine", "m", Usage(1007, 10))

    ways.memory.counted.clear()
    ways.upstream.answer = [b'data: {"usage":{"prompt_tokens":2000,"completion_tokens":1}}\n\n' * 5, b"never heard"]
    async with client.post(url, json=asked) as answer:
        await answer.content.readany()
    (counted,) = await until(lambda: ways.memory.counted)
    assert counted == ("mine", "m", Usage(2000, 5)), "it hung up"

    ways.memory.counted.clear()
    ways.upstream.hung_up.clear()
    ways.upstream.before.clear()
    hearing = asyncio.create_task(client.post(url, json=asked))
    await until(lambda: len(ways.upstream.asked) == 3)
    hearing.cancel()
    (counted,) = await until(lambda: ways.memory.counted)
    assert counted == ("mine", "m", Usage(1007, 0)), "it hung up before there was an answer"

    ways.memory.counted.clear()
    ways.upstream.before.set()
    ways.upstream.answer = {"input_tokens": 12}
    async with client.post(f"{ways.url}/anthropic/v1/messages/count_tokens", json=asked) as answer:
        assert answer.status == 200
    assert ways.memory.counted == [], "to count costs nothing"


async def test_no_provider_is_asked_when_the_tokens_of_the_day_are_used_up(
    ways: Ways, client: aiohttp.ClientSession
) -> None:
    ways.budget.why = "that was all for today"
    async with client.post(f"{ways.url}/anthropic/v1/messages", json={"model": "m"}) as answer:
        assert answer.status == 403, "which no client tries again, as they do with 429"
        assert (await answer.json())["error"]["message"] == "Roommate: that was all for today"
    assert ways.upstream.asked == []


async def test_who_hangs_up_on_a_silent_model_ends_the_request_at_the_provider(ways: Ways) -> None:
    ways.upstream.answer = [b"never said"]
    reader, writer = await connect(URL(ways.url).port or 0)
    writer.write(b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert await reader.readuntil(b"never said")
    writer.close()
    await asyncio.wait_for(ways.upstream.hung_up.wait(), PATIENCE)


async def test_who_hangs_up_ends_the_request_at_the_provider(ways: Ways, client: aiohttp.ClientSession) -> None:
    ways.upstream.answer = [b"data: 1\n\n"] * 10
    async with client.post(f"{ways.url}/openai/v1/chat/completions", json={}) as answer:
        await answer.content.readany()
        answer.close()
    async with asyncio.timeout(PATIENCE):
        while not ways.upstream.hung_up.is_set():
            ways.upstream.go_on.set()
            await asyncio.sleep(0.02)


async def test_an_error_of_the_provider_comes_through_without_the_key(
    ways: Ways, client: aiohttp.ClientSession
) -> None:
    ways.upstream.status, ways.upstream.answer = 401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    async with client.post(f"{ways.url}/openai/v1/chat/completions", json={}) as answer:
        assert answer.status == 401
        assert await answer.json() == {"error": {"message": "Incorrect API key provided: [key]"}}
    assert ways.memory.counted == []


async def test_a_redirect_is_not_followed(ways: Ways, client: aiohttp.ClientSession) -> None:
    ways.upstream.status = 307
    async with client.post(f"{ways.url}/openai/v1/chat/completions", json={}, allow_redirects=False) as answer:
        assert answer.status == 502
    assert len(ways.upstream.asked) == 1


async def test_a_body_has_an_end(ways: Ways, client: aiohttp.ClientSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // (1 << 20) + 2):
            yield bytes(1 << 20)

    try:
        async with client.post(f"{ways.url}/openai/v1/responses", data=endless()) as answer:
            assert answer.status == 413
    except aiohttp.ClientConnectionError:
        pass  # it was told while it still spoke
    assert ways.upstream.asked == []


async def test_a_body_that_is_said_to_be_too_long_is_not_waited_for(ways: Ways) -> None:
    reader, writer = await connect(URL(ways.url).port or 0)
    writer.write(b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1))
    assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(hand: LiveHand, ways: Ways) -> None:
    gateway = Gateway(providers({"openai": KEY}, {"openai": ways.base}), ways.memory, body_seconds=0.2)
    port = free_port()
    hand.host.serve(port, functools.partial(gateway.serve, ROOM))
    reader, writer = await connect(port)
    writer.write(b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await gateway.close()
    assert ways.upstream.asked == []


async def test_a_compressed_body_passes_as_it_is(ways: Ways, client: aiohttp.ClientSession) -> None:
    body = gzip.compress(bytes(1 << 20))
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
    async with client.post(f"{ways.url}/openai/responses", data=body, headers=headers) as answer:
        assert answer.status == 200
    ((_, _, came, read),) = ways.upstream.asked
    assert (came["Content-Encoding"], came["Content-Length"], read) == ("gzip", str(len(body)), bytes(1 << 20))


@pytest.mark.parametrize("declared", [True, False])
async def test_the_model_is_found_wherever_it_is_named(
    ways: Ways, client: aiohttp.ClientSession, declared: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"input": "', b"x" * 300_000, b'", "mo', b'del" : "m-', b'9", "n": 1}'):
            yield piece
            await asyncio.sleep(0.02)

    whole = b"".join([piece async for piece in pieces()])
    async with client.post(f"{ways.url}/openai+codex/responses", data=whole if declared else pieces()) as answer:
        assert answer.status == 200
    assert ways.upstream.asked[0][3] == whole
    await until(lambda: ways.memory.counted)
    assert ways.memory.counted == [("codex", "m-9", Usage(7, 3))]


async def test_more_requests_than_a_room_may_make_wait_for_their_turn(
    hand: LiveHand, ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roommate.tunnels.http_server.REQUESTS_AT_ONCE", 20)
    monkeypatch.setattr("roommate.tunnels.http_server.REQUESTS_A_SECOND", 2)
    other = free_port()
    hand.host.serve(other, functools.partial(ways.gateway.serve, RoomId("!other:example.org")))
    answered = 0

    async def ask(port: int, times: int) -> None:
        nonlocal answered
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * times)
        for _ in range(times):
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 404 ")
            answered += port != other
        writer.close()

    loop = asyncio.get_running_loop()
    began = loop.time()
    asking = [asyncio.create_task(ask(URL(ways.url).port or 0, 10)) for _ in range(6)]
    await until(lambda: answered > 20, "one more than may be at once, in its turn")
    await ask(other, 1)
    assert answered <= 20 + 2 * (loop.time() - began)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_bodies_wait_where_they_come_from(hand: LiveHand) -> None:
    """A provider that does not read, and requests that are almost whole: none of that is in the daemon's memory."""
    stalled = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stalled.wait()

    async with server(deaf) as provider:
        gateway = Gateway(providers({"openai": KEY}, {"openai": f"http://127.0.0.1:{provider}"}), Memory())
        port = free_port()
        hand.host.serve(port, functools.partial(gateway.serve, ROOM))
        assert (await hand.host.run(["true"])).code == 0
        before, loop = memory(), asyncio.get_running_loop()
        head = b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (16 << 20)
        piece, sockets, sent = bytes(1 << 18), [], [0]

        async def pour(line: socket.socket) -> None:
            await loop.sock_sendall(line, head)
            for _ in range(15 << 2):
                await loop.sock_sendall(line, piece)
                sent[0] += len(piece)

        for _ in range(16):
            sockets.append(line := socket.socket())
            line.setblocking(False)
            await loop.sock_connect(line, ("127.0.0.1", port))
        pouring = [asyncio.create_task(pour(line)) for line in sockets]
        seen, most = -1, 0
        while seen < sent[0]:  # until nothing more is taken
            seen = sent[0]
            await asyncio.sleep(0.5)
            most = max(most, memory() - before)
        for task in pouring:
            task.cancel()
        for line in sockets:
            line.close()
        stalled.set()
        await gateway.close()
    assert most < 64 << 20, f"of 240 MiB of bodies {seen >> 20} were taken, and {most >> 20} are here"


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a_provider_that_is_away_is_said(hand: LiveHand, client: aiohttp.ClientSession) -> None:
    gateway = Gateway(providers({"openai": KEY}, {"openai": f"http://127.0.0.1:{free_port()}/v1"}), Memory())
    port = free_port()
    hand.host.serve(port, functools.partial(gateway.serve, ROOM))
    assert (await hand.host.run(["true"])).code == 0
    async with client.post(f"http://127.0.0.1:{port}/openai/v1/responses", json={}) as answer:
        assert answer.status == 502
        assert "cannot be reached" in (await answer.json())["error"]["message"]
    async with client.post(f"http://127.0.0.1:{port}/anthropic/v1/messages", json={}) as answer:
        assert answer.status == 404
        assert "/openai" in (await answer.json())["error"]["message"]
    await gateway.close()


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (
            {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6}},
            Usage(10, 10),
        ),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}, Usage(5, 2)),
        (
            {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens": 2}},
            Usage(5, 2, cached_tokens=4),
        ),
        (
            {"usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 8, "candidatesTokenCount": 1}},
            Usage(9, 1, cached_tokens=8),
        ),
        (
            {"usage": {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}},
            Usage(5, 2),
        ),
        ({"text": '"prompt_tokens": 77'}, Usage(2, 8)),
        ({}, Usage(2, 0)),
    ],
)
def test_every_api_tells_its_tokens(said: dict[str, Any], usage: Usage) -> None:
    whole, bytewise = Counter(), Counter()
    whole.feed(json.dumps(said).encode())
    for byte in json.dumps(said).encode():
        bytewise.feed(bytes([byte]))
    assert whole.usage(8, whole=True) == bytewise.usage(8, whole=True) == usage


def test_only_a_stream_is_counted_by_its_pieces() -> None:
    for stream, written in (
        (b"data: {}\n\n" * 3, 3),
        (b'event: x\ndata: {"a":"data: b"}\n\n', 1),
        (b'{"a":"data:"}' * 40, 130),
    ):
        whole, bytewise = Counter(), Counter()
        whole.feed(stream)
        for byte in stream:
            bytewise.feed(bytes([byte]))
        assert whole.usage(0, whole=False) == bytewise.usage(0, whole=False) == Usage(0, written)


def test_a_long_stream_is_counted_by_its_ends() -> None:
    counter = Counter()
    counter.feed(b'{"input_tokens": 12}')
    for _ in range(100):
        counter.feed(bytes(50_000))
    counter.feed(b'{"output_tokens": 34}')
    assert counter.usage(8, whole=True) == Usage(12, 34)
    assert len(counter._head) + len(counter._tail) < 1 << 20


def test_a_provider_says_no_key_when_it_is_shown() -> None:
    assert KEY not in repr(providers(dict.fromkeys(KINDS, KEY), {}))
    assert set(providers({"openai": KEY, "gemini": ""}, {})) == {"openai"}
