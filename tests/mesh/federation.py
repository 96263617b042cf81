"""Two homeservers of different names that federate with each other, by TLS on loopback, and with nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import trustme

from roommate.demo.embedded_synapse import Synapse
from roommate.demo.synapse_config import Instance, Place, free_port


@contextlib.asynccontextmanager
async def two_homeservers(folder: Path) -> AsyncIterator[tuple[Synapse, Synapse]]:
    """Each is called by the address of its TLS listener: so the other finds it without DNS or a well-known file."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    ports = free_port(), free_port()
    names = [f"127.0.0.1:{port}" for port in ports]
    both = _homeserver(folder, ports[0], names), _homeserver(folder, ports[1], names)
    async with contextlib.AsyncExitStack() as ends:
        for one in both:
            ends.push_async_callback(one.stop)
        await asyncio.gather(*(one.start() for one in both))
        yield both


def _homeserver(folder: Path, port: int, names: list[str]) -> Synapse:
    name, own = f"127.0.0.1:{port}", folder / str(port)
    own.mkdir(mode=0o700)
    instance = Instance.fresh()
    instance.write(own, Place())  # it keeps that port, which its own configuration has to name
    listeners = [
        {"type": "http", "port": at, "bind_addresses": ["127.0.0.1"], "tls": tls, "resources": [{"names": [kind]}]}
        for at, tls, kind in ((instance.port, False, "client"), (port, True, "federation"))
    ]
    federating = {
        "listeners": listeners,
        "tls_certificate_path": str(folder / "tls.crt"),
        "tls_private_key_path": str(folder / "tls.key"),
        "federation_custom_ca_list": [str(folder / "ca.pem")],
        "federation_domain_whitelist": names,
        "ip_range_blacklist": [],
    }
    return Synapse(own, server_name=name, limits="open", more=federating)
