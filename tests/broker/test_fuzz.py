"""Whatever bytes a room writes to the broker: each is understood as one thing or refused, and breaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roommate.demo.synapse_config import free_port
from roommate.domain import Destination, Program, RoomId
from roommate.errors import HandLost
from roommate.features.egress.gate import Gate
from roommate.features.egress.host_rules import host_name
from roommate.features.egress.proxy import parse
from roommate.features.github.forge import Forge, Site
from roommate.features.github.git_server import GitServer
from roommate.features.github.git_wire import BadPush, commands, judgeable, pkt, pkts, report
from roommate.features.model_gateway.gateway import Gateway
from roommate.features.model_gateway.providers import providers
from roommate.tunnels.request_body_stream import RequestRefused
from roommate.tunnels.tunnel import Tunnel
from tests.broker.conftest import ROOM, Memory, People
from tests.patience import PATIENCE


def spoilt(good: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Something that is right, right but for some bytes, or anything at all."""

    @st.composite
    def damaged(draw: st.DrawFn) -> bytes:
        data, put = draw(good), draw(st.binary(max_size=8) | st.sampled_from(ODD))
        at = draw(st.integers(0, len(data)))
        return data[:at] + put + data[at + draw(st.integers(0, 8)) :]

    return good | damaged() | st.binary(max_size=200)


ODD = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b"@",
    b"%0d%0a",
    b"#",
    b"?",
    b"\\",
    b"//",
    b"[",
    b"\xff",
)


# ── Proxy heads ──────────────────────────────────────────────────────────────────────────────────

HOSTS = (
    b"a.test",
    b"A.TEST.",
    b"a.test:8080",
    b"[::1]:80",
    b"u:p@a.test",
    b"127.1",
    b"a.test:",
    b"xn--4ca.test",
    b"*.a.test",
    b"",
)
FIELDS = (
    b"Host: evil.test", b"Connection: keep-alive, X", b"Proxy-Authorization: Basic eDp5", b"Content-Length: 4",
    b"content-length: 5", b"Transfer-Encoding: chunked", b"X: y", b"Upgrade: h2c", b"Keep-Alive: 5", b"A:", b": b",
    b" folded",
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    host = draw(st.sampled_from(HOSTS))
    target = draw(st.sampled_from((host, b"http://%s" % host, b"http://%s/a?b#c" % host, b"HTTP://%s?x" % host, b"/")))
    line = b" ".join((draw(st.sampled_from((b"CONNECT", b"GET", b"POST"))), target, b"HTTP/1.1"))
    return b"\r\n".join([line, *draw(st.lists(st.sampled_from(FIELDS), max_size=5))])


@given(spoilt(heads()))
@example(b"GET http://a.test\x0b/ HTTP/1.1")
@example(b"GET http://[::]! HTTP/1.0")
def test_a_proxy_head_is_one_request_to_the_host_that_was_judged(head: bytes) -> None:
    try:
        asked = parse(head)
    except RequestRefused as refusal:
        assert refusal.status == 400
        return
    assert host_name(asked.host) == asked.host
    assert 0 < asked.port < 65536
    if not asked.head:
        return
    for said in (asked.head, asked.of_proxy(b"Proxy-Authorization: Basic x\r\n")):
        assert said.endswith(b"\r\n\r\n")
        line, *fields = said[:-4].split(b"\r\n")
        assert not any({b"\r"[0], b"\n"[0]} & set(one) for one in (line, *fields))
        assert line.count(b" ") == 2
        assert all(fields), "the head has one end"
        named = [field.partition(b":")[2].strip().decode() for field in fields if field[:5].lower() == b"host:"]
        assert len(named) == 1
        there, _, port = named[0].rpartition(":") if not named[0].endswith("]") else (named[0], "", "")
        there, port = (there, port) if there else (port, "")
        assert host_name(there) == asked.host
        assert int(port or 80) == asked.port
        assert [field for field in fields if field[:11].lower() == b"connection:"] == [b"Connection: close"]
    assert b"\r\nproxy-" not in asked.head.lower()
    with contextlib.suppress(RequestRefused):
        assert asked.body_bytes >= 0


# ── git pushes ───────────────────────────────────────────────────────────────────────────────────

IDS = st.sampled_from(("0" * 40, "1" * 40, "a" * 40))
REFS = st.sampled_from(
    ("refs/heads/x", "refs/tags/v1", "refs/heads/a b", "refs/heads/../x", "refs/heads/ä", "HEAD", "refs/heads/\udcff")
)
SAID = st.sampled_from(
    ("report-status side-band-64k", "atomic push-options", "agent=x object-format=sha256", "push-cert=1")
)


@st.composite
def pushes(draw: st.DrawFn) -> bytes:
    lines = [f"shallow {draw(IDS)}" for _ in range(draw(st.integers(0, 2)))]
    for number in range(draw(st.integers(0, 4))):
        caps = "\0" + draw(SAID) if number == 0 else ""
        lines.append(f"{draw(IDS)} {draw(IDS)} {draw(REFS)}{caps}{draw(st.sampled_from(('', chr(10))))}")
    end = draw(st.sampled_from((b"0000", b"0000PACK", b"0001", b"")))
    return b"".join(pkt(line.encode(errors="surrogateescape")) for line in lines) + end


@given(spoilt(pushes()))
def test_what_is_understood_of_a_push_is_what_the_forge_is_told(data: bytes) -> None:
    try:
        pushed = commands(data)
    except BadPush:
        return
    again = commands(pushed.encoded() + data[pushed.size :])
    assert (again.updates, again.shallow) == (pushed.updates, pushed.shallow)
    assert again.capabilities == pushed.capabilities if pushed.updates else True
    assert again.size == len(pushed.encoded())
    assert pushed.size <= len(data)
    said = report(pushed, {update.ref: "no" for update in pushed.updates})
    assert said.endswith(b"0000")
    assert sum(end for _, end in list(pkts(said))[-1:]) == len(said), "git can read why"


@given(spoilt(st.lists(st.binary(max_size=60).map(pkt), max_size=5).map(b"".join)))
def test_pkt_lines_are_read_in_order_and_within_what_came(data: bytes) -> None:
    with contextlib.suppress(BadPush):
        judgeable(data)
    at = 0
    with contextlib.suppress(BadPush):
        for content, end in pkts(data):
            assert at + 4 + len(content or b"") == end <= len(data)
            at = end


# ── HTTP on tunnels ──────────────────────────────────────────────────────────────────────────────


class Wire:
    """`Tunnel` whose other end says these pieces, waits for an answer for a moment, and hangs up."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.said = bytearray()
        self._answered = asyncio.Event()

    async def read(self) -> bytes:
        if self._pieces:
            await asyncio.sleep(0)
            return self._pieces.pop(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await self._answered.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.said += data
        self._answered.set()

    def end(self) -> None:
        pass

    async def caller(self) -> Program:
        raise HandLost("it has gone")


Serve = Callable[[RoomId, Tunnel], Coroutine[Any, Any, None]]
ASKS = (
    b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"model\": \"m\"}",
    b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    b"POST /openai/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n{}",
    b"GET /openai/models HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"GET /%6fpenai/models?key=a&&=&%ff HTTP/1.0\r\n\r\n",
    b"GET http://elsewhere.test/openai/models HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /acme/widget/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\n\r\n",
    b"POST /acme/widget/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /acme/widget/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n0000",
    b"POST /acme/widget/git-receive-pack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0000\r\nz\r\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=["models", "git"])
def serve(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Serve]:
    """Where nothing answers behind it: a provider and a forge that are away."""
    away, memory = f"http://127.0.0.1:{free_port()}", Memory(Destination("127.0.0.1"))
    memory.repos.append("acme/widget")

    async def none() -> Sequence[Destination]:
        return ()

    async def make() -> Gateway | GitServer:
        if request.param == "models":
            return Gateway(providers({"openai": "key"}, {"openai": away}), memory)
        gate = Gate(memory, People(), registries=none, wait=0.01)
        forge = Forge(Site.of(away, token="t"))
        return GitServer(forge, memory, gate.refusal, memory, protected=(), folder=Path(tempfile.gettempdir()))

    server = runner.run(make())
    yield server.serve
    runner.run(server.close())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asks=st.lists(spoilt(st.sampled_from(ASKS)), min_size=1, max_size=3), cuts=st.lists(st.integers(0, 600), max_size=6)
)
def test_http_in_whatever_pieces_is_answered_or_refused(
    serve: Serve,
    runner: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
    asks: list[bytes],
    cuts: list[int],
) -> None:
    caplog.set_level(logging.ERROR)
    caplog.clear()
    said, wrong = b"".join(asks), list[object]()
    places = sorted({min(cut, len(said)) for cut in (0, *cuts, len(said))})
    wire = Wire([said[start:end] for start, end in itertools.pairwise(places)])

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        with contextlib.suppress(HandLost, ConnectionError):
            async with asyncio.timeout(PATIENCE):
                await serve(ROOM, wire)
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            assert not (await asyncio.wait(left, timeout=PATIENCE))[1], "nothing of it goes on"

    runner.run(talk())
    assert wrong == []
    assert b" 500 " not in wire.said, "nothing went wrong on our side"
    assert caplog.records == [], "nor is it a failure of the daemon's that a room speaks badly"
    assert not wire.said or wire.said.startswith(b"HTTP/")
