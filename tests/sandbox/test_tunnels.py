"""Tunnels: connections to a port in the room become connections to a handler in the daemon, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roommate.sandbox.hand import HandHost
from roommate.sandbox.inside.frames import (
    COST,
    DATA,
    END,
    LISTEN,
    OPEN,
    RESULT,
    TUNNEL,
    TUNNELS,
    WINDOW,
    Frames,
    credit,
    frame,
    port_bytes,
)
from roommate.sandbox.tunnel import Tunnel
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE, until
from tests.sandbox.test_hostile_hand import dial, host

__all__ = ["host"]


@pytest.fixture
async def hand() -> AsyncIterator[LiveHand]:
    async with live_hand() as live:
        yield live


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def echo(tunnel: Tunnel) -> None:
    while piece := await tunnel.read():
        await tunnel.write(piece)
    tunnel.end()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to `echo` that has come through, and does not just stand in line."""
    reader, writer = await connect(port)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    return reader, writer


async def say(port: int, words: bytes) -> bytes:
    reader, writer = await connect(port)
    writer.write(words)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        heard = await reader.read()
    writer.close()
    return heard


async def test_what_is_said_comes_to_the_handler_and_back(hand: LiveHand, port: int) -> None:
    hand.host.serve(port, echo)
    words = os.urandom(5_000_000)
    assert await say(port, words) == words
    assert await say(port, b"") == b""
    many = [os.urandom(n * 1000) for n in range(50)]
    assert await asyncio.gather(*(say(port, one) for one in many)) == many


async def test_who_opened_a_tunnel_is_found_when_it_is_asked(hand: LiveHand, port: int) -> None:
    told: list[str] = []

    async def ask(tunnel: Tunnel) -> None:
        told.append((await tunnel.caller()).command)
        await tunnel.write(b"x")
        await tunnel.read()
        told.append((await tunnel.caller()).command)

    hand.host.serve(port, ask)
    assert (await hand.host.run(["true"])).code == 0
    program = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)\nprint('\\n' * 9)"
    ended = await hand.host.run(["python3", "-I", "-S", "-c", program, str(port), *(each * 600 for each in "abcd")])
    assert ended.code == 0
    await until(lambda: len(told) == 2)
    assert f" -I -S -c {program.splitlines()[0]} {port} {'a' * 499}… " in told[0]
    assert "python3" in told[0]
    assert len(told[0]) == 2000
    assert told[1] == "", "it has ended"


async def test_a_half_closed_tunnel_still_carries_the_other_way(hand: LiveHand, port: int) -> None:
    async def digest(tunnel: Tunnel) -> None:
        whole = hashlib.sha256()
        while piece := await tunnel.read():
            whole.update(piece)
        await tunnel.write(whole.hexdigest().encode())

    async def greet_first(tunnel: Tunnel) -> None:
        await tunnel.write(b"hello")
        tunnel.end()
        greeted.append(await tunnel.read())

    greeted: list[bytes] = []
    hand.host.serve(port, digest)
    words = bytes(3_000_000)
    assert (await say(port, words)).decode() == hashlib.sha256(words).hexdigest()
    hand.host.serve(port, greet_first)
    reader, writer = await connect(port)
    assert await reader.read() == b"hello"
    writer.write(b"still here")
    await until(lambda: greeted)
    assert greeted == [b"still here"]
    writer.close()


async def test_who_has_gone_is_not_waited_for(hand: LiveHand, port: int) -> None:
    """Also where the daemon has not taken yet what it said last, and may never."""
    gone = asyncio.Event()

    async def deaf(tunnel: Tunnel) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    hand.host.serve(port, deaf)
    _, writer = await connect(port)
    writer.write(bytes(64 << 20))
    before = -1
    while (waits := writer.transport.get_write_buffer_size()) != before:
        before = waits
        await asyncio.sleep(0.2)
    assert waits, "not all of it is taken"
    line = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await gone.wait()


async def test_a_slow_reader_holds_back_its_own_tunnel_only(hand: LiveHand, port: int) -> None:
    sent, blocked = 0, asyncio.Event()

    async def pour(tunnel: Tunnel) -> None:
        nonlocal sent
        if await tunnel.read() == b"echo":
            await tunnel.write(b"echo")
            return
        while sent < 100_000_000:
            await tunnel.write(bytes(10_000))
            sent += 10_000

    async def never(tunnel: Tunnel) -> None:
        await blocked.wait()

    hand.host.serve(port, pour)
    _, writer = await connect(port)
    writer.write(b"pour")
    await until(lambda: sent)
    before = -1
    while before != sent:  # until it stands still
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 30_000_000
    assert await say(port, b"echo") == b"echo"
    assert (await hand.host.run(["true"])).code == 0
    writer.close()

    hand.host.serve(port, never)
    _, writer = await connect(port)
    writer.write(bytes(50_000_000))
    await asyncio.sleep(0.3)
    assert writer.transport.get_write_buffer_size() > 10_000_000, "what nobody reads stays where it came from"
    assert (await hand.host.run(["true"])).code == 0
    writer.transport.abort()
    blocked.set()


def heard(daemon: socket.socket) -> Iterator[tuple[int, int, bytearray]]:
    frames = Frames()
    while piece := daemon.recv(1 << 16):
        yield from frames.feed(piece)


async def still(pid: int) -> None:
    """Until it has done all there is to do."""
    before = ""
    while before != (now := Path(f"/proc/{pid}/schedstat").read_text()):
        before = now
        await asyncio.sleep(0.2)


async def test_nobody_is_closed_because_the_line_is_full(port: int) -> None:
    """Two things come at once: credit for a connection, which has to wait with it, and its first bytes."""
    hand = LiveHand()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(hand.socket))
            listener.listen()
            await hand.spawn()
            daemon, _ = await asyncio.to_thread(listener.accept)
        with daemon:
            daemon.settimeout(PATIENCE)
            daemon.sendall(frame(LISTEN, 0, port_bytes(port)))
            _, quiet = await connect(port)
            frames = heard(daemon)
            [opened] = [number for kind, number, _ in itertools.islice(frames, 2) if kind == OPEN]
            quiet.write(b"x")
            assert next(frames)[:2] == (DATA, opened)
            many = [await connect(port) for _ in range(10)]
            for _, writer in many:
                writer.write(bytes(WINDOW))
            await still(hand.pid)
            os.kill(hand.pid, signal.SIGSTOP)
            await until(lambda: ") T " in Path(f"/proc/{hand.pid}/stat").read_text())
            daemon.sendall(credit(opened, 1))
            quiet.write(b"hello")
            await quiet.drain()
            os.kill(hand.pid, signal.SIGCONT)
            kind, _, payload = next(one for one in frames if one[1] == opened)
            assert (kind, bytes(payload)) == (DATA, b"hello")
    finally:
        await hand.discard()


async def test_who_goes_away_ends_the_tunnel(hand: LiveHand, port: int) -> None:
    ends: list[str] = []

    async def pour(tunnel: Tunnel) -> None:
        try:
            while True:
                await tunnel.write(bytes(10_000))
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    hand.host.serve(port, pour)
    _, writer = await connect(port)
    writer.transport.abort()
    await until(lambda: ends)
    await until(lambda: not hand.host._handlers.running)


async def test_a_handler_that_returns_or_fails_closes_its_tunnel(hand: LiveHand, port: int) -> None:
    async def short(tunnel: Tunnel) -> None:
        await tunnel.write(b"x" * 100_000)

    async def fail(tunnel: Tunnel) -> None:
        raise ValueError("this is what the test wants in the log")

    hand.host.serve(port, short)
    reader, writer = await connect(port)
    assert len(await reader.read()) == 100_000
    writer.close()
    hand.host.serve(port, fail)
    assert await say(port, b"") == b""
    assert (await hand.host.run(["true"])).code == 0


async def test_ports_come_back_after_the_hand_and_after_the_daemon(hand: LiveHand, port: int) -> None:
    hand.host.serve(port, echo)
    assert await say(port, b"one") == b"one"
    reader, writer = await connected(port)
    await hand.kill()
    assert await reader.read() == b""
    writer.close()
    await until(lambda: not hand.host._handlers.running)
    await hand.start()
    assert await say(port, b"two") == b"two"
    reader, writer = await connected(port)
    await hand.restart_host()
    assert await reader.read() == b""
    writer.close()
    hand.host.serve(port, echo)
    assert await say(port, b"three") == b"three"


async def test_a_port_that_is_taken_is_served_when_it_is_free(hand: LiveHand, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        hand.host.serve(port, echo)
        assert (await hand.host.run(["true"])).code == 0
    assert await say(port, b"x") == b"x"


async def test_more_than_a_room_may_have_wait_in_line(hand: LiveHand, port: int) -> None:
    hand.host.serve(port, echo)
    first = await asyncio.gather(*(connected(port) for _ in range(TUNNELS)))
    reader, writer = await connect(port)
    writer.write(b"y")
    waiting = asyncio.ensure_future(reader.readexactly(1))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    first[0][1].close()
    async with asyncio.timeout(PATIENCE):
        assert await waiting == b"y"
    for _, other in [*first, (reader, writer)]:
        other.close()


# ── A container that lies ────────────────────────────────────────────────────────────────────────

FIRST = TUNNEL + 1
LIES = {
    "a port that nobody serves": frame(OPEN, FIRST, port_bytes(81)),
    "half a port": frame(OPEN, FIRST, b"\0"),
    "a number of the daemon's": frame(OPEN, 5, port_bytes(80)),
    "one number twice": frame(OPEN, FIRST, port_bytes(80)) * 2,
    "without opening": frame(DATA, FIRST, b"x"),
    "an end of nothing": frame(END, FIRST),
    "too many": b"".join(frame(OPEN, FIRST + n, port_bytes(80)) for n in range(TUNNELS + 1)),
    "bytes after the end": frame(OPEN, FIRST, port_bytes(80)) + frame(END, FIRST) + frame(DATA, FIRST, b"x"),
    "two ends": frame(OPEN, FIRST, port_bytes(80)) + frame(END, FIRST) * 2,
    "nothing at all": frame(OPEN, FIRST, port_bytes(80)) + frame(DATA, FIRST, b""),
    "beyond its credit": frame(OPEN, FIRST, port_bytes(80)) + frame(DATA, FIRST, b"x") * (WINDOW // (COST + 1) + 1),
    "after it was over": frame(OPEN, FIRST, port_bytes(80)) + frame(RESULT, FIRST) + frame(DATA, FIRST, b"x"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_lies_end_the_connection_and_nothing_else(host: HandHost, lie: bytes) -> None:
    ended = asyncio.Event()

    async def never(tunnel: Tunnel) -> None:
        try:
            while True:
                await tunnel.write(b"x")
        finally:
            ended.set()

    host.serve(80, never)
    liar = await dial(host)
    await host.connected(5)
    liar.writer.write(lie)
    assert await liar.hung_up()
    await until(lambda: not host._handlers.running)
    await dial(host)
    await host.connected(5)


async def test_a_hand_that_does_not_end_a_closed_tunnel_is_dead(host: HandHost) -> None:
    async def give_up(tunnel: Tunnel) -> None:
        tunnel.abort()

    host.serve(80, give_up)
    liar = await dial(host)
    await host.connected(5)
    liar.writer.write(frame(OPEN, FIRST, port_bytes(80)))
    assert await liar.hung_up()
    assert not host.here
