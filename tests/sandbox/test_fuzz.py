"""Whatever is said in place of the hand: nothing breaks, nothing is held up, nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import tracemalloc
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from roommate.domain import RoomId
from roommate.errors import SandboxError, ToolError
from roommate.sandbox.hand import HandHost
from roommate.sandbox.inside.frames import (
    CALL,
    CHUNK,
    COST,
    CREDIT,
    DATA,
    END,
    OPEN,
    RESULT,
    TUNNEL,
    WINDOW,
    Frames,
    credit,
    credited,
    frame,
    port_bytes,
)
from roommate.sandbox.tunnel import Tunnel
from roommate.tunnels.http_server import Servers
from tests.loop_time import AT_ONCE, watched
from tests.patience import PATIENCE, until
from tests.sandbox.test_hostile_hand import ENDED, GREETING

MIB = 1 << 20
GROWTH = 8 * MIB
"""Of a room that has few tunnels and calls: what lies here for them, once as it came and once as it is passed on."""
ECHO, SILENT, HTTP = 80, 81, 82

CALLS: tuple[Callable[[HandHost], Awaitable[object]], ...] = (
    lambda host: host.run(["true"]),
    lambda host: host.run(["cat"], stdin=bytes(WINDOW), timeout=0.001),
    lambda host: host.read("file", limit=1000),
    lambda host: host.list(".", limit=10),
    lambda host: host.write("file", b"x" * 100),
    lambda host: host.jobs(),
)
CONTENT = (
    b"{}",
    b"[]",
    b'{"error": "no"}',
    b'{"total": 1}',
    b'{"size": 7}',
    b'{"jobs": []}',
    json.dumps(ENDED).encode(),
    b"[" * 1000,
    b'[["a", "file", 1]]',
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"2\r\nxx\r\n",
    b"0\r\n\r\n",
)


@dataclass(slots=True)
class Impostor:
    """Knows the protocol, and so gets further than noise does: it says what it may say, until it does not want to."""

    writer: asyncio.StreamWriter
    heard: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Cost of what came on each call or tunnel, and was not credited."""
    left: dict[int, int] = field(default_factory=lambda: defaultdict(lambda: WINDOW))
    """What may be sent on each."""
    live: list[int] = field(default_factory=list)
    number: int = TUNNEL

    async def listen(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 18):
                for kind, number, payload in frames.feed(piece):
                    if kind == CALL:
                        self.live.append(number)
                    elif kind == DATA:
                        self.heard[number] += len(payload) + COST
                    elif kind == CREDIT:
                        self.left[number] += credited(payload)

    def one(self, which: int) -> int:
        return self.live[which % len(self.live)] if self.live else TUNNEL

    def open(self, port: int) -> bytes:
        self.number += 1
        self.live.append(self.number)
        self.left[self.number] = WINDOW
        return frame(OPEN, self.number, port_bytes(port))

    def data(self, which: int, content: bytes, times: int) -> bytes:
        one = self.one(which)
        times = min(times, self.left[one] // (len(content) + COST))
        self.left[one] -= times * (len(content) + COST)
        return frame(DATA, one, content) * times

    def credit(self, which: int, _: bytes, times: int) -> bytes:
        one = self.one(which)
        most, self.heard[one] = self.heard[one], 0
        return credit(one, most // times) * times if most >= times else b""

    def end(self, which: int) -> bytes:
        return frame(END, self.one(which))

    def result(self, which: int, content: bytes) -> bytes:
        one = self.one(which)
        if self.live:
            self.live.remove(one)
        return frame(RESULT, one, content)

    def churn(self, port: int, times: int) -> bytes:
        self.number += 1
        return (frame(OPEN, self.number, port_bytes(port)) + frame(RESULT, self.number)) * times


@dataclass(frozen=True, slots=True)
class Step:
    what: str
    which: int = 0
    content: bytes = b""
    times: int = 1

    def said(self, impostor: Impostor) -> bytes:
        match self.what:
            case "open":
                return impostor.open((ECHO, SILENT, HTTP)[self.which % 3])
            case "churn":
                return impostor.churn((ECHO, SILENT, HTTP)[self.which % 3], self.times)
            case "data":
                return impostor.data(self.which, self.content, self.times)
            case "credit":
                return impostor.credit(self.which, self.content, self.times)
            case "end":
                return impostor.end(self.which)
            case "result":
                return impostor.result(self.which, self.content)
        return self.content * self.times


WHICH = st.integers(0, 7)
SOME = st.one_of(st.sampled_from(CONTENT), st.binary(max_size=50), st.integers(1, CHUNK).map(bytes))
TIMES = st.sampled_from((1, 1, 2, 300, 3000))
FRAMES = st.builds(frame, st.integers(0, 11), st.one_of(st.integers(0, 5), st.integers(TUNNEL, TUNNEL + 9)), SOME)
STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.just("call"), WHICH),
        st.builds(Step, st.just("open"), WHICH),
        st.builds(Step, st.just("churn"), WHICH, times=st.sampled_from((1, 2, 20, 3000))),
        st.builds(Step, st.just("data"), WHICH, SOME, TIMES),
        st.builds(Step, st.just("data"), WHICH, st.sampled_from(CONTENT), TIMES),
        st.builds(Step, st.just("credit"), WHICH, times=TIMES),
        st.builds(Step, st.just("end"), WHICH),
        st.builds(Step, st.just("result"), WHICH, SOME),
        st.builds(Step, st.just("pause")),
    ),
    max_size=60,
)
LAST = st.one_of(st.just(b""), FRAMES, st.binary(max_size=100))


async def echo(tunnel: Tunnel) -> None:
    while piece := await tunnel.read():
        await tunnel.write(piece)


async def silent(tunnel: Tunnel) -> None:
    await asyncio.sleep(PATIENCE)


async def answer(room_id: RoomId, request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=str(len(await request.read())))


@given(STEPS, LAST, st.sampled_from((0.001, PATIENCE)))
@settings(max_examples=100)
async def test_nothing_that_is_said_breaks_holds_up_or_grows(steps: list[Step], last: bytes, patience: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rh-"))
    host, servers = HandHost(folder / "hand.sock", patience=patience, silence=patience), Servers(answer)
    host.serve(ECHO, echo)
    host.serve(SILENT, silent)
    host.serve(HTTP, lambda tunnel: servers.serve(RoomId("!room"), tunnel))
    asked = []
    await host.open()
    tracemalloc.start()
    try:
        with watched() as loop:
            reader, writer = await asyncio.open_unix_connection(str(folder / "hand.sock"))
            writer.write(GREETING)
            await host.connected(PATIENCE)
            impostor = Impostor(writer)
            listening = asyncio.ensure_future(impostor.listen(reader))
            for step in steps:
                if step.what == "call" and host.here:
                    asked.append(asyncio.ensure_future(CALLS[step.which % len(CALLS)](host)))
                    await asyncio.sleep(0)
                elif step.what == "pause":
                    await asyncio.sleep(0.002)
                elif host.here:
                    writer.write(step.said(impostor))
            writer.write(last)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):  # then it waits for more tunnels than it may open in that time
                    await until(lambda: not host.here, every=0.001)
            await host.close()
            await listening
            assert host._handlers.running == 0
            ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [
            end for end in ends if isinstance(end, BaseException) and not isinstance(end, SandboxError | ToolError)
        ] == []
        assert loop.wrong == []
        assert loop.longest < AT_ONCE
        assert tracemalloc.get_traced_memory()[1] < GROWTH
    finally:
        tracemalloc.stop()
        await servers.close()
        await host.close()
        shutil.rmtree(folder)
