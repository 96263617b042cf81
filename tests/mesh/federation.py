"""Two homeservers of different names that federate with each other, by TLS on loopback, and with nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import trustme
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from roommate.demo.synapse_config import Instance, Place, free_port
from tests.front import Front


class Slow(Front):
    """Before a homeserver, as others reach it: the answer to an invite, which it has signed and knows of by then, goes
    back when `goes` is set."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(f"http://127.0.0.1:{port}", tls)
        self.goes = asyncio.Event()
        self.after = self._hold

    def token(self, request: web.Request) -> str:
        return ""  # homeservers sign what they ask

    async def _hold(self, request: web.Request, said: bytes) -> None:
        if "/invite/" in request.path:
            await self.goes.wait()


@contextlib.asynccontextmanager
async def two_homeservers(folder: Path) -> AsyncIterator[tuple[Synapse, Synapse]]:
    """Each is called by the address of its TLS listener: so the other finds it without DNS or a well-known file."""
    _certify(folder)
    ports = free_port(), free_port()
    names = [f"127.0.0.1:{port}" for port in ports]
    both = _homeserver(folder, names[0], names), _homeserver(folder, names[1], names)
    async with _running(both):
        yield both


@contextlib.asynccontextmanager
async def one_slow_of_two(folder: Path) -> AsyncIterator[tuple[Synapse, Synapse, Slow]]:
    """The second is reached by the first through what is the third."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _certify(folder).configure_cert(tls)
    port, behind = free_port(), free_port()
    async with Slow(behind, tls) as slow:
        names = [f"127.0.0.1:{port}", slow.url.removeprefix("https://")]
        both = _homeserver(folder, names[0], names), _homeserver(folder, names[1], names, behind=behind)
        async with _running(both):
            yield *both, slow


@contextlib.asynccontextmanager
async def _running(both: tuple[Synapse, Synapse]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as ends:
        for one in both:
            ends.push_async_callback(one.stop)
        await asyncio.gather(*(one.start() for one in both))
        yield


def _certify(folder: Path) -> trustme.LeafCert:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    return certificate


def _homeserver(folder: Path, name: str, names: list[str], *, behind: int | None = None) -> Synapse:
    """`behind` is the port where it is without TLS what others know as `name`."""
    port = behind or int(name.rpartition(":")[2])
    own = folder / str(port)
    own.mkdir(mode=0o700)
    instance = Instance.fresh()
    instance.write(own, Place())  # it keeps that port, which its own configuration has to name
    listeners = [
        {"type": "http", "port": at, "bind_addresses": ["127.0.0.1"], "tls": tls, "resources": [{"names": [kind]}]}
        for at, tls, kind in ((instance.port, False, "client"), (port, behind is None, "federation"))
    ]
    federating = {
        "listeners": listeners,
        "tls_certificate_path": str(folder / "tls.crt"),
        "tls_private_key_path": str(folder / "tls.key"),
        "federation_custom_ca_list": [str(folder / "ca.pem")],
        "federation_domain_whitelist": names,
        "ip_range_blacklist": [],
        # One that does not answer in a busy moment is asked again at once, and not ten minutes later.
        "federation": {
            "destination_min_retry_interval": "1s",
            "destination_max_retry_interval": "2s",
            "max_long_retry_delay": "1s",
        },
    }
    return Synapse(own, server_name=name, limits="open", more=federating)
