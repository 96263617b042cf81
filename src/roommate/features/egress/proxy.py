"""The HTTP proxy that is a room's only way out: CONNECT and plain HTTP (RFC 9110, section 9.3.6; RFC 9112, 3.2.2)."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from roommate.domain import RoomId
from roommate.features.egress.gate import Gate
from roommate.features.egress.host_rules import host_name
from roommate.features.egress.safe_connect import Addresses, Unreachable
from roommate.host import deadlines
from roommate.tunnels.request_body_stream import RequestRefused
from roommate.tunnels.tunnel import Tunnel

log = logging.getLogger(__name__)

PORT = 3128
"""Of the container's 127.0.0.1."""

_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
_NAMED = re.compile(r"(?:\[[^][]+\]|[^][:]+)(?::[0-9]*)?")
"""A host and a port: `urlsplit` passes over what stands behind a bracket, which a server may not."""
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection. `idle_seconds` without a byte in either direction end it, after twice as much at most."""

    head_bytes: int = 16384
    head_seconds: float = 15.0
    idle_seconds: float = 300.0
    total_seconds: float = 4 * 3600.0
    total_bytes: int = 8 << 30
    connections: int = 64
    """At once, of one room."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to, and what to say there first: nothing for CONNECT."""

    host: str
    port: int
    head: bytes

    def of_proxy(self, fields: bytes) -> bytes:
        """The same, as another proxy is asked (RFC 9112, 3.2.2), with more `fields`."""
        line, _, rest = self.head.partition(b"\r\n")
        method, path, version = line.split(b" ")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return b"%s http://%s:%d%s %s\r\n%s%s" % (method, host.encode(), self.port, path, version, fields, rest)

    @property
    def body_bytes(self) -> int:
        """How many bytes belong to the request behind its head. Raises RequestRefused where it does not say."""
        fields = [(_name(field), field.partition(b":")[2].strip()) for field in self.head.split(b"\r\n")[1:]]
        if any(name == b"transfer-encoding" for name, _ in fields):
            raise RequestRefused(
                411, "the proxy of this site wants to know how long a request is: say its Content-Length"
            )
        lengths = {value for name, value in fields if name == b"content-length"} or {b"0"}
        length = lengths.pop()
        if lengths or not length.isdigit() or len(length) > 18:
            raise RequestRefused(400, "the request's Content-Length is wrong")
        return int(length)


class EgressProxy:
    """Of all rooms. It sees where a connection leads and how much goes through, and nothing of what TLS covers."""

    def __init__(self, gate: Gate, addresses: Addresses, limits: Limits = Limits()) -> None:
        self._gate, self._addresses, self._limits = gate, addresses, limits
        self._open: dict[RoomId, int] = {}

    async def close(self) -> None:
        """A connection ends with its room's hand."""

    async def serve(self, room_id: RoomId, tunnel: Tunnel) -> None:
        """One connection, from its first byte to its end. Raises HandLost."""
        try:
            head, rest = await self._head(tunnel)
            asked = parse(head)
            if self._open.get(room_id, 0) >= self._limits.connections:
                raise RequestRefused(503, "this room has too many connections open")
            self._open[room_id] = self._open.get(room_id, 0) + 1
            try:
                await self._let_out(room_id, tunnel, asked, rest)
            finally:
                self._open[room_id] -= 1
        except RequestRefused as refused:
            text = f"Roommate: {refused}\n".encode()
            reason = f"Roommate: {refused}".encode("ascii", "replace")[:200]  # of CONNECT clients show nothing else
            head = b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n" % (refused.status, reason)
            await tunnel.write(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)

    async def _head(self, tunnel: Tunnel) -> tuple[bytes, bytes]:
        """The head of the request, and what came behind it."""
        held = bytearray()
        try:
            async with deadlines.within(self._limits.head_seconds):
                while (end := held.find(b"\r\n\r\n")) < 0:
                    if len(held) > self._limits.head_bytes:
                        break
                    piece = await tunnel.read()
                    if not piece:
                        raise RequestRefused(400, "the request has no end")
                    held += piece
        except TimeoutError:
            raise RequestRefused(408, "the request took too long to come") from None
        if end < 0 or end > self._limits.head_bytes:
            raise RequestRefused(431, "the request's head is too long")
        return bytes(held[:end]), bytes(held[end + 4 :])

    async def _let_out(self, room_id: RoomId, tunnel: Tunnel, asked: Asked, rest: bytes) -> None:
        try:
            await self._addresses.check(asked.host)  # people are not asked about what they cannot allow
            if why := await self._gate.refusal(room_id, asked.host, asked.port, tunnel.caller):
                log.info("not let out to %s:%d", asked.host, asked.port)
                raise RequestRefused(403, why)
            route = await self._addresses.connect(room_id, asked.host, asked.port, plain=bool(asked.head))
            writer = route.writer
        except Unreachable as error:
            log.info("%s", error)
            raise RequestRefused(403 if error.refused else 502, str(error)) from error
        try:
            most = None
            if route.head is not None:
                # It would take what comes behind this request for the next one, to a host that nobody was asked about.
                most = asked.body_bytes
                rest = rest[:most]
                most -= len(rest)
                writer.write(asked.of_proxy(route.head))
            elif asked.head:
                writer.write(asked.head)
            else:
                await tunnel.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            writer.write(rest)
            await _Relay(tunnel, route.reader, writer, self._limits, most).run()
        except OSError:
            pass  # the other end hung up
        finally:
            writer.transport.abort()


class _Relay:
    """Two directions, until the other side has said all, or a limit is met."""

    def __init__(
        self,
        tunnel: Tunnel,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        most: int | None = None,
    ) -> None:
        """Of what the room says go `most` bytes at most; what is more is dropped."""
        self._tunnel, self._reader, self._writer, self._limits = tunnel, reader, writer, limits
        self._most = most
        self._moved = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.total_seconds
        up, down = loop.create_task(self._up()), loop.create_task(self._down())
        waiting = {up, down}
        try:
            while not down.done() and (left := until - loop.time()) > 0 and self._moved < self._limits.total_bytes:
                before = self._moved
                done, waiting = await asyncio.wait(
                    waiting, timeout=min(left, self._limits.idle_seconds), return_when=asyncio.FIRST_COMPLETED
                )
                if not done and before == self._moved:
                    return
                for task in done:
                    task.result()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self) -> None:
        while piece := await self._tunnel.read():
            self._count(piece)
            if self._most is not None:
                piece = piece[: self._most]
                self._most -= len(piece)
            self._writer.write(piece)
            await self._writer.drain()
        if self._most is None and self._writer.can_write_eof():
            self._writer.write_eof()

    async def _down(self) -> None:
        while piece := await self._reader.read(_PIECE):
            self._count(piece)
            await self._tunnel.write(piece)

    def _count(self, piece: bytes) -> None:
        self._moved += len(piece)
        if self._moved > self._limits.total_bytes:
            raise ConnectionAbortedError("more bytes than one connection may carry")


def parse(head: bytes) -> Asked:
    """Raises RequestRefused."""
    line, *fields = head.split(b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None or not all(_FIELD.fullmatch(field) for field in fields):
        raise RequestRefused(400, "this is no HTTP request")
    method, target = match[1], match[2].decode()
    if method == b"CONNECT":
        host, _, digits = target.rpartition(":")
        port = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        return Asked(_host(host), _port(port), b"")
    try:
        url = urlsplit(target)
        host, port = url.hostname or "", url.port or 80
    except ValueError:
        raise RequestRefused(400, "the request's address is wrong") from None
    if url.scheme != "http" or not host:
        raise RequestRefused(400, "this is a proxy: ask for http://HOST/…, or CONNECT")
    named = url.netloc.rpartition("@")[2]
    if not _NAMED.fullmatch(named):
        raise RequestRefused(400, "the request's address is wrong")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    dropped = (b"host", b"connection", b"keep-alive", b"upgrade")
    kept = [field for field in fields if not _name(field).startswith(b"proxy-") and _name(field) not in dropped]
    lines = [b"%s %s HTTP/1.1" % (method, path.encode()), b"Host: " + named.encode(), *kept, b"Connection: close"]
    return Asked(_host(host), _port(port), b"\r\n".join(lines) + b"\r\n\r\n")


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].lower()


def _host(text: str) -> str:
    host = host_name(text)
    if not host or host.startswith("*"):
        raise RequestRefused(400, "this is no name of a host")
    return host


def _port(port: int) -> int:
    if not 0 < port < 65536:
        raise RequestRefused(400, "this is no port")
    return port
