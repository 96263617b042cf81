"""From a host's name to a connection that leads out, and nowhere near this machine or its network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from yarl import URL

from roommate.domain import Destination, RoomId
from roommate.host import deadlines, own_thread
from roommate.net import outbound_http

Resolve = Callable[[str, int], Awaitable[list[str]]]
Mirrors = Callable[[], Awaitable[Sequence[Destination]]]

CONNECT_SECONDS = 10.0
LOOKED_UP_AT_ONCE = 8
"""Names, for one room: each takes a thread, for as long as the resolver waits for whoever should know it."""
_BUFFER = 1 << 18
_WITH_IPV4_INSIDE = {ipaddress.IPv6Network("64:ff9b::/96"): 0, ipaddress.IPv6Network("2002::/16"): 80}
"""Networks whose addresses lead to an IPv4 address (RFC 6052, RFC 3056), and how many bits stand behind it."""
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network (RFC 791): Linux takes it for the machine itself
            "168.63.129.16/32",  # a cloud's metadata, where it is not link-local anyway
            "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "240.0.0.0/4",  # reserved (RFC 1112)
            "::/96",  # IPv4-compatible (RFC 4291)
            "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
            "64:ff9b:1::/48",  # a site's own translation to IPv4 (RFC 8215): what stands behind it only the site knows
            "100::/64",  # thrown away (RFC 6666)
            "2001::/23",  # IETF protocol assignments, Teredo with its IPv4 address among them (RFC 2928, RFC 4380)
            "3fff::/20",  # documentation (RFC 9637)
            "5f00::/16",  # segment routing (RFC 9602)
            "fec0::/10",  # site-local, as it once was (RFC 3879)
        ),
    )
)
"""Networks that no room may connect to, whoever has named the host. Python's `ipaddress` knows some of them, and which
depends on its version (https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry)."""


class Unreachable(Exception):
    """`refused`: it is there, most likely, and nobody in a room may go there."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Route:
    """A connection to a host. With `head`, what a request to a proxy needs, it is one to the site's proxy, which does
    not connect by itself: it wants to be asked for the whole URL."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes | None = None


class Addresses:
    """Resolves a name once, looks at what came, and connects to that very address: it cannot change in between."""

    def __init__(
        self,
        *,
        internal: Collection[str] = (),
        mirrors: Mirrors | None = None,
        loopback: bool = False,
        resolve: Resolve | None = None,
        proxy: Callable[[URL], URL | None] = outbound_http.proxy,
    ) -> None:
        """`internal` and `mirrors` name hosts that may have private addresses: those that an operator has named, and
        the package registries of the image, which many sites have in their own network. `loopback` is for tests: this
        machine itself counts as the world outside. `proxy` is the site's way to a URL."""
        self._internal = frozenset(internal)
        self._mirrors = mirrors
        self._loopback = loopback
        self._resolve = resolve or _resolve
        self._proxy = proxy
        self._turns: dict[RoomId, asyncio.Semaphore] = {}

    async def connect(self, room_id: RoomId, host: str, port: int, *, plain: bool = False) -> Route:
        """`plain` for an HTTP request, else for whatever bytes. Raises Unreachable."""
        proxy = self._proxy(URL.build(scheme="http" if plain else "https", host=host, port=port))
        try:
            async with deadlines.within(CONNECT_SECONDS):
                if proxy is not None:
                    return await self._by_proxy(room_id, proxy, host, port, plain)
                return Route(*await self._connect(room_id, host, port))
        except TimeoutError:
            raise Unreachable(f"{host}:{port} did not answer in {CONNECT_SECONDS:.0f} s") from None
        except (OSError, UnicodeError, EOFError, asyncio.LimitOverrunError) as error:
            number = getattr(error, "errno", None) or 0  # the resolver's own are below 0, and say what they mean
            why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
            raise Unreachable(f"{host}:{port} cannot be reached: {why}") from error

    async def check(self, host: str) -> None:
        """Raises Unreachable for an address that no room may connect to. A name is not looked up: who may not connect
        to it should tell nobody of it either."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        await self._check(host, host)

    async def look_up(self, room_id: RoomId, host: str, port: int) -> list[str]:
        """The addresses of a host, each of which a room may connect to. Raises Unreachable, OSError."""
        async with self._turns.setdefault(room_id, asyncio.Semaphore(LOOKED_UP_AT_ONCE)):
            found = await self._resolve(host, port)
        for address in found:
            await self._check(host, address)
        return found

    async def _check(self, host: str, address: str) -> None:
        if not self._may(address, private=False) and not (
            self._may(address, private=True) and await self._is_internal(host)
        ):
            which = f"{host} is an address" if host == address else f"{host} has the address {address},"
            raise Unreachable(f"{which} which no room may connect to", refused=True)

    async def _connect(
        self, room_id: RoomId, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        found = await self.look_up(room_id, host, port)
        failed = OSError(f"{host} has no address")
        for address in found[:4]:
            try:
                reader, writer = await asyncio.open_connection(address, port, limit=_BUFFER)
            except OSError as error:
                failed = error
                continue
            ours, theirs = (writer.get_extra_info(name)[0] for name in ("sockname", "peername"))
            if ours == theirs and not self._loopback:
                writer.transport.abort()
                raise Unreachable(f"{host} is the machine that this runs on", refused=True)
            return reader, writer
        raise failed

    async def _by_proxy(self, room_id: RoomId, proxy: URL, host: str, port: int, plain: bool) -> Route:
        """What is known of the host here counts; what only the proxy can resolve is the proxy's to refuse."""
        with contextlib.suppress(OSError):
            await self.look_up(room_id, host, port)
        tls = outbound_http.trust() if proxy.scheme == "https" else None
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=_BUFFER, ssl=tls)
        login = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()) if proxy.user else b""
        head = b"Proxy-Authorization: Basic " + login + b"\r\n" if login else b""
        if plain:
            return Route(reader, writer, head)
        try:
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            writer.write(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (*[authority.encode()] * 2, head))
            said = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
            if not re.match(rb"HTTP/1\.[01] 2\d\d", said):
                why = said.partition(b" ")[2].decode(errors="replace")
                raise Unreachable(f"{host}:{port} cannot be reached: the proxy of this site says {why[:100]}")
        except BaseException:
            writer.transport.abort()
            raise
        return Route(reader, writer)

    def _may(self, address: str, *, private: bool) -> bool:
        """May somebody connect there, when the host may have a `private` address or not?"""
        ip = inner(address)
        if ip.is_loopback:
            return self._loopback
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified or _is_in(ip, _NEVER):
            return False
        return (private and ip.is_private) or (ip.is_global and not ip.is_reserved)

    async def _is_internal(self, host: str) -> bool:
        if host in self._internal:
            return True
        return self._mirrors is not None and any(mirror.host == host for mirror in await self._mirrors())


def inner(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that this one leads to in the end."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        for network, behind in _WITH_IPV4_INSIDE.items():
            if ip in network:
                return ipaddress.IPv4Address((int(ip) >> behind) & 0xFFFFFFFF)
    return ip


def _is_in(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    return any(ip in network for network in networks)


async def _resolve(host: str, port: int) -> list[str]:
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await own_thread.run(look, "name")  # a room may let nobody answer for its names
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
