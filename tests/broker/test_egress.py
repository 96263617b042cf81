"""The way out: what is let through and how, what is not, and what a hostile room gains by trying."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from roommate.demo.synapse_config import free_port
from roommate.domain import Destination, Program, RoomId
from roommate.errors import EngineError
from roommate.features.egress.gate import ALWAYS, NO, ONCE, Gate
from roommate.features.egress.host_rules import allowed, typed
from roommate.features.egress.proxy import EgressProxy, Limits, parse
from roommate.features.egress.registries_of_image import Registries, destinations
from roommate.features.egress.safe_connect import LOOKED_UP_AT_ONCE, Addresses, Unreachable
from roommate.tunnels.request_body_stream import RequestRefused
from tests.broker.conftest import ROOM, Memory, People, connect, say, server
from tests.live_hand import LiveHand
from tests.patience import PATIENCE, until
from tests.proxy import Proxy

USUAL = Limits()
QUICK = Limits(head_seconds=0.3, idle_seconds=0.3, total_seconds=5)


class Way:
    """A room's way out, at `port` of the loopback."""

    def __init__(self, hand: LiveHand) -> None:
        self.hand, self.memory, self.people = hand, Memory(), People()
        self.port = 0

    def open(
        self, *rules: Destination, limits: Limits = USUAL, addresses: Addresses | None = None, wait: float = 5
    ) -> int:
        async def registries() -> Sequence[Destination]:
            return (Destination("registry.test"),)

        self.memory.kept = list(rules)
        gate = Gate(self.memory, self.people, registries=registries, wait=wait)
        self.people.decide = gate.decide
        self.port = free_port()
        proxy = EgressProxy(gate, addresses or Addresses(loopback=True), limits)
        self.hand.host.serve(self.port, functools.partial(proxy.serve, ROOM))
        return self.port


@pytest.fixture
async def way(hand: LiveHand) -> AsyncIterator[Way]:
    yield Way(hand)


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a request with the request."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + head)
    await writer.drain()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()


async def tunnelled(port: int, host: str, to: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connect(port)
    writer.write(f"CONNECT {host}:{to} HTTP/1.1\r\nHost: {host}:{to}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
    return reader, writer


# ── What is let through ──────────────────────────────────────────────────────────────────────────


async def test_connect_is_a_pipe(way: Way) -> None:
    async with server(echo) as upstream:
        port = way.open(Destination("localhost", upstream))
        reader, writer = await tunnelled(port, "localhost", upstream)
        words = os.urandom(3_000_000)
        writer.write(words)
        writer.write_eof()
        assert await reader.read() == words
        writer.close()
    assert way.people.asked == []


async def test_plain_http_is_asked_for_in_its_own_words(way: Way) -> None:
    async with server(hello) as upstream:
        port = way.open(Destination("localhost", upstream))
        got = await say(
            port,
            f"GET http://LOCALHOST:{upstream}/a%20b?c=d HTTP/1.1\r\nHost: elsewhere.test\r\nProxy-Authorization: x\r\n"
            "Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n".encode(),
        )
    head = got.partition(b"\r\n\r\n")[2].decode()
    expected = f"GET /a%20b?c=d HTTP/1.1\r\nHost: LOCALHOST:{upstream}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    assert head == expected


async def test_where_the_site_has_a_proxy_rooms_go_through_it(way: Way) -> None:
    """By name, since only the proxy may know it. What is known here counts all the same."""

    async def resolve(host: str, port: int) -> list[str]:
        if host == "private.test":
            return ["10.0.0.1"]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with (
        server(hello) as plain,
        server(echo) as tls,
        Proxy({"plain.test": plain, "tls.test": tls}, "a:b") as site,
    ):
        there = URL(site.url)
        addresses = Addresses(resolve=resolve, proxy=lambda url: None if url.host == "near.test" else there)
        port = way.open(Destination("*", 80), Destination("*", 443), addresses=addresses)
        got = await say(port, b"GET http://plain.test/a?b HTTP/1.1\r\nHost: plain.test\r\nAccept: x\r\n\r\n")
        assert got.endswith(b"GET /a?b HTTP/1.1\r\nHost: plain.test\r\nAccept: x\r\nConnection: close\r\n\r\n")
        reader, writer = await tunnelled(port, "tls.test", 443)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        writer.close()
        for host, why in (
            ("unknown.test", "the proxy of this site says 502"),
            ("private.test", "which no room may connect to"),
            ("169.254.169.254", "which no room may connect to"),
            ("near.test", "cannot be reached: Name or service not known"),
        ):
            said = await say(port, f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
            assert why in said.decode(), host
        assert site.asked == {"plain.test": 1, "tls.test": 1, "unknown.test": 1}


async def test_the_sites_proxy_gets_one_request_and_nothing_behind_it(way: Way) -> None:
    got = bytearray()

    async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"body" not in got:
            got.extend(await reader.read(1 << 16))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            while b"last" not in got and not reader.at_eof():
                got.extend(await reader.read(1 << 16))
        writer.close()

    async with server(site) as there:
        addresses = Addresses(resolve=_nobody_knows, proxy=lambda url: URL(f"http://127.0.0.1:{there}"))
        port = way.open(Destination("plain.test", 80), addresses=addresses)
        reader, writer = await connect(port)
        more = b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n"
        writer.write(b"POST http://plain.test/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" + more)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\n\r\n"
        writer.write(more + b"last")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.transport.abort()
        assert got.startswith(b"POST http://plain.test:80/ HTTP/1.1\r\n") and b"evil" not in got
        for wrong, status in (
            (b"Transfer-Encoding: chunked", b"411"),
            (b"Content-Length: 4\r\nContent-Length: 5", b"400"),
            (b"Content-Length: -1", b"400"),
        ):
            said = await say(port, b"POST http://plain.test/ HTTP/1.1\r\n" + wrong + b"\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 " + status), wrong


async def _nobody_knows(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


# ── What is not ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "100.100.100.200",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0",
     "fd00:ec2::254", "ff02::1", "64:ff9b::a00:1", "2002:a00:1::", "192.0.2.1", "198.18.0.1", "2001:db8::1"],
)  # fmt: skip
async def test_an_address_that_is_not_the_worlds_is_refused(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", address]

    for host in ("innocent.test", address):
        with pytest.raises(Unreachable, match="no room may connect to") as caught:
            await Addresses(resolve=resolve, internal=["mirror.test"]).connect(ROOM, host, 443)
        assert caught.value.refused


@pytest.mark.parametrize(
    "network",
    ["192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "2001::/32", "fec0::/10", "240.0.0.0/4",
     "::/96", "::ffff:0:0:0/96", "100::/64", "5f00::/16", "0.0.0.0/8"],
)  # fmt: skip
async def test_networks_of_a_special_purpose_are_nobodys_host(network: str) -> None:
    """Not even that of a host which an operator has named: which of them Python knows depends on its version."""
    whole = ipaddress.ip_network(network)
    for address in (whole[0], whole[whole.num_addresses // 3], whole[-1]):

        async def resolve(host: str, port: int, address: str = str(address)) -> list[str]:
            return [address]

        with pytest.raises(Unreachable, match="no room may connect to"):
            await Addresses(resolve=resolve, internal=["named.test"]).look_up(ROOM, "named.test", 443)


async def test_mirrors_and_hosts_that_an_operator_names_may_have_private_addresses() -> None:
    found = {"metadata.test": "169.254.169.254", "me.test": "127.0.0.1"}

    async def resolve(host: str, port: int) -> list[str]:
        return [found.get(host, "203.0.113.1")]

    async def mirrors() -> Sequence[Destination]:
        return (Destination("registry.test"), Destination("me.test"))

    addresses = Addresses(resolve=resolve, internal=["named.test", *found], mirrors=mirrors)
    for host in ("named.test", "registry.test"):
        async with asyncio.timeout(PATIENCE):
            assert await addresses.look_up(ROOM, host, 443) == ["203.0.113.1"]
    for host in ("other.test", *found):
        with pytest.raises(Unreachable, match="no room may connect to"):
            await addresses.look_up(ROOM, host, 443)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:7f00:1]"]
)
async def test_this_machine_is_not_reached_by_any_of_its_names(way: Way, host: str) -> None:
    reached = []

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(host)

    async with server(never) as upstream:
        port = way.open(Destination("*", upstream), addresses=Addresses())
        got = await say(port, f"CONNECT {host}:{upstream} HTTP/1.1\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 403 ")
    assert b"no room may connect to" in got
    assert reached == []


async def test_what_was_looked_at_is_what_is_connected_to(way: Way) -> None:
    """A name that changes its address between check and connect (DNS rebinding) is resolved once only."""
    answers = iter([["127.0.0.1"]])

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    async with server(echo) as upstream:
        port = way.open(Destination("changes.test", upstream), addresses=Addresses(resolve=resolve, loopback=True))
        _, writer = await tunnelled(port, "changes.test", upstream)
        writer.close()
    with pytest.raises(StopIteration):
        next(answers)


async def test_names_that_nobody_answers_for_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library waits for them half a minute, in threads: encrypted rooms and containers need some as well."""
    known, asked, end = socket.getaddrinfo, list[str](), threading.Event()

    def silent(host: str, *more: Any, **named: Any) -> Any:
        if not host.endswith(".silent.test"):
            return known(host, *more, **named)
        asked.append(host)
        end.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    addresses = Addresses(loopback=True)
    connecting = [asyncio.create_task(addresses.connect(ROOM, f"{n}.silent.test", 443)) for n in range(64)]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)
            assert await addresses.look_up(RoomId("!other:test"), "localhost", 443)
        assert len(asked) == LOOKED_UP_AT_ONCE
    finally:
        end.set()
        await asyncio.gather(*connecting, return_exceptions=True)


async def test_a_port_of_another_protocol_is_not_opened_by_a_rule_about_the_web(way: Way) -> None:
    way.memory.chosen = ("all",)
    port = way.open(Destination("mail.test"), wait=0.05)
    got = await say(port, b"CONNECT mail.test:25 HTTP/1.1\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 ")
    assert [question.subject for question in way.people.asked] == ["mail.test:25"]


# ── People ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_host_is_asked_about_once_and_a_yes_lets_it_through(way: Way) -> None:
    async with server(hello) as upstream:
        port = way.open()
        request = f"GET http://localhost:{upstream}/ HTTP/1.1\r\n\r\n".encode()
        waiting = [asyncio.ensure_future(say(port, request)) for _ in range(5)]
        await until(lambda: way.people.asked)
        await asyncio.sleep(0.1)
        assert len(way.people.asked) == 1
        assert f"`localhost`, port {upstream}" in way.people.asked[0].text
        assert "until " in await way.people.choose(f"localhost:{upstream}", ONCE)
        assert all(got.startswith(b"HTTP/1.1 200") for got in await asyncio.gather(*waiting))
        assert (await say(port, request)).startswith(b"HTTP/1.1 200")
        assert way.memory.kept == []
    assert len(way.people.asked) == 1


@pytest.mark.parametrize("choice", [ONCE, ALWAYS, NO])
async def test_who_comes_while_people_answer_asks_nobody(choice: str) -> None:
    memory, people, answered = Memory(), People(), asyncio.Event()

    async def none() -> Sequence[Destination]:
        return ()

    async def at_once() -> Program:
        return Program()

    async def later() -> Program:
        await answered.wait()
        return Program()

    gate = Gate(memory, people, registries=none, wait=PATIENCE)
    people.decide = gate.decide
    asking = [asyncio.ensure_future(gate.refusal(ROOM, "new.test", 443, caller)) for caller in (at_once, later)]
    await until(lambda: people.asked)
    await people.choose("new.test:443", choice)
    answered.set()
    assert [bool(refused) for refused in await asyncio.gather(*asking)] == [choice == NO] * 2
    assert len(people.asked) == 1


async def test_nobody_is_asked_about_an_address_that_nobody_can_allow(way: Way) -> None:
    port = way.open(addresses=Addresses(internal=["10.0.0.7"]), wait=0.1)
    for host in ("169.254.169.254", "10.0.0.1", "[::1]"):
        got = await say(port, f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
        assert b"is an address which no room may connect to" in got
    await say(port, b"CONNECT 10.0.0.7:443 HTTP/1.1\r\n\r\n")
    assert [question.subject for question in way.people.asked] == ["10.0.0.7:443"]


async def test_the_card_names_the_command_in_code(way: Way) -> None:
    port = way.open(wait=0.1)
    assert (await way.hand.host.run(["true"])).code == 0  # so that its port is open
    program = "import socket; c = socket.create_connection(('127.0.0.1', 0)); c.sendall(b''); c.recv(1)"
    request = "CONNECT new.test:443 HTTP/1.1\r\n\r\n"
    program = program.replace("0)", f"{port})").replace("b''", repr(request.encode()))
    await way.hand.host.run(["python3", "-c", program, "`**@room** \u202e"])
    [asked] = way.people.asked
    assert asked.text.startswith("`` ")
    assert "python3 -c import socket;" in asked.text
    assert (
        "c.recv(1) `**@room** \ufffd `` in this room's container wants to connect to `new.test`, port 443."
        in asked.text
    )
    assert (
        "✅ allows it once, which is for 10 minutes, ♾️ for this room from now on (operators), ❌ refuses" in asked.hint
    )


async def test_a_long_command_is_in_the_details(way: Way) -> None:
    port = way.open(wait=0.1)
    assert (await way.hand.host.run(["true"])).code == 0  # so that its port is open
    program = "import socket, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
    program += "c.sendall(b'CONNECT new.test:443 HTTP/1.1' + b'\\r\\n' * 2); c.recv(1)"
    words = [f"--quiet-{number}" for number in range(40)]
    await way.hand.host.run(["python3", "-c", program, str(port), *words, "--upload=```secret"])
    [asked] = way.people.asked
    assert "…` in this room's container wants to connect to `new.test`" in asked.text
    assert "--quiet-39" not in asked.text
    assert "More of the command is in the details." in asked.text
    assert asked.details is not None
    assert " ".join(["python3", "-c", program, str(port), *words, "--upload=```secret"]) in asked.details[1]
    assert asked.details[1].startswith("````\n")


async def test_for_this_room_is_kept(way: Way) -> None:
    async with server(hello) as upstream:
        port = way.open()
        request = f"GET http://localhost:{upstream}/ HTTP/1.1\r\n\r\n".encode()
        waiting = asyncio.ensure_future(say(port, request))
        await until(lambda: way.people.asked)
        await way.people.choose(f"localhost:{upstream}", ALWAYS)
        assert (await waiting).startswith(b"HTTP/1.1 200")
        assert way.memory.kept == [Destination("localhost", upstream)]


async def test_a_no_is_a_no(way: Way) -> None:
    port = way.open()
    waiting = asyncio.ensure_future(say(port, b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n"))
    await until(lambda: way.people.asked)
    await way.people.choose("evil.test:443", NO)
    assert b"people here refused it" in await waiting
    assert b"people here refused it" in await say(port, b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n")
    assert len(way.people.asked) == 1


async def test_who_gets_no_answer_is_told_and_the_answer_still_counts(way: Way) -> None:
    async with server(hello) as upstream:
        port = way.open(wait=0.1)
        request = f"GET http://localhost:{upstream}/ HTTP/1.1\r\n\r\n".encode()
        got = await say(port, request)
        assert got.startswith(b"HTTP/1.1 403 ")
        assert b"try again when they have" in got
        await say(port, request)
        assert len(way.people.asked) == 1
        await way.people.choose(f"localhost:{upstream}", ONCE)
        assert (await say(port, request)).startswith(b"HTTP/1.1 200")


async def test_a_room_does_not_drown_in_questions(way: Way) -> None:
    port = way.open(wait=0.5)
    got = await asyncio.gather(*(say(port, f"CONNECT h{n}.test:443 HTTP/1.1\r\n\r\n".encode()) for n in range(30)))
    assert all(one.startswith(b"HTTP/1.1 403 ") for one in got)
    assert len(way.people.asked) == 3


# ── A hostile room ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET https://a.test/ HTTP/1.1\r\n\r\n", 400),
        (b"GET ftp://a.test/ HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a.test HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a.test:0 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a.test:99999 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT *.test:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a.test\x00b:443 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT ä.test:443 HTTP/1.1\r\n\r\n".encode(), 400),
        (b"GET http://[::1 HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a.test:x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a.test/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET http://a.test/ HTTP/1.1\r\nA: b\nHost: c\r\n\r\n", 400),
        (b"GET http://a.test/ HTTP/1.1\r\n" + b"A: b\r\n" * 4000 + b"\r\n", 431),
        (b"GET http://a.test/" + b"a" * 20000, 431),
    ],
)
async def test_what_is_no_request_is_told_so(way: Way, request_: bytes, status: int) -> None:
    port = way.open(wait=0.05)
    assert (await say(port, request_)).startswith(f"HTTP/1.1 {status} ".encode())
    assert way.people.asked == []


async def test_who_speaks_slowly_is_cut_off(way: Way) -> None:
    port = way.open(limits=QUICK)
    reader, writer = await connect(port)

    async def drip() -> None:
        while True:
            writer.write(b"G")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(PATIENCE):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    dripping.cancel()
    writer.close()


async def test_a_connection_that_nobody_uses_ends(way: Way) -> None:
    async with server(echo) as upstream:
        port = way.open(Destination("localhost", upstream), limits=QUICK)
        reader, writer = await tunnelled(port, "localhost", upstream)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("limit", [replace(QUICK, total_seconds=0.4), replace(QUICK, total_bytes=100_000)])
async def test_a_connection_has_an_end(way: Way, limit: Limits) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(1000))
            await writer.drain()
            await asyncio.sleep(0.002)

    async with server(pour) as upstream:
        port = way.open(Destination("localhost", upstream), limits=limit)
        reader, writer = await tunnelled(port, "localhost", upstream)
        async with asyncio.timeout(PATIENCE):
            assert len(await reader.read()) <= 300_000
        writer.close()


async def test_one_room_has_so_many_connections(way: Way) -> None:
    async with server(echo) as upstream:
        port = way.open(Destination("localhost", upstream), limits=replace(Limits(), connections=3))
        kept = [await tunnelled(port, "localhost", upstream) for _ in range(3)]
        got = await say(port, f"CONNECT localhost:{upstream} HTTP/1.1\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 503 ")
        kept.pop()[1].transport.abort()
        async with asyncio.timeout(PATIENCE):
            while True:
                reader, writer = await connect(port)
                writer.write(f"CONNECT localhost:{upstream} HTTP/1.1\r\n\r\n".encode())
                kept.append((reader, writer))
                if (await reader.readline()).startswith(b"HTTP/1.1 200"):
                    break
        for _, writer in kept:
            writer.close()


async def test_a_host_that_is_not_there_is_said(way: Way) -> None:
    closed = free_port()
    port = way.open(Destination("localhost", closed))
    got = await say(port, f"CONNECT localhost:{closed} HTTP/1.1\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"refused" in got


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Example.ORG", Destination("example.org")),
        ("example.org.:8443", Destination("example.org", 8443)),
        ("*.example.org", Destination("*.example.org")),
        ("bücher.example", Destination("xn--bcher-kva.example")),
        ("192.0.2.7:80", Destination("192.0.2.7", 80)),
        ("[2001:db8::1]:443", Destination("2001:db8::1", 443)),
        ("", None),
        ("*", None),
        ("a*.example.org", None),
        ("https://example.org", None),
        ("example.org/path", None),
        ("example.org:99999", None),
        ("a b", None),
        ("-a.example", None),
    ],
)
def test_what_people_type_is_a_rule_or_nothing(text: str, rule: Destination | None) -> None:
    assert typed(text) == rule
    if rule is not None:
        assert typed(str(rule)) == rule


@pytest.mark.parametrize(
    ("rule", "host", "port", "covered"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "example.org", 80, True),
        ("example.org", "example.org", 22, False),
        ("example.org", "a.example.org", 443, False),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "evilexample.org", 443, False),
        ("example.org:22", "example.org", 22, True),
        ("example.org:22", "example.org", 443, False),
    ],
)
def test_what_a_rule_covers(rule: str, host: str, port: int, covered: bool) -> None:
    parsed = typed(rule)
    assert parsed is not None
    assert allowed([parsed], host, port) is covered


def test_hosts_in_the_configuration_of_package_clients() -> None:
    text = "global.index-url='https://me:pw@Mirror.test:8443/simple'\nURIs: http://deb.test/debian\nhttp://[fd00::1]/x\nnot://x"
    assert destinations(text) == [Destination("mirror.test", 8443), Destination("deb.test"), Destination("fd00::1")]


async def test_an_image_that_cannot_be_looked_into_has_no_registries() -> None:
    async def look(script: str) -> str:
        raise EngineError("this is what the test wants in the log")

    assert await Registries(look)() == ()


def test_a_request_that_hides_another_is_none() -> None:
    with pytest.raises(RequestRefused):
        parse(b"GET http://a.test/ HTTP/1.1\r\nX: y\rHost: b")
