"""A room's way out: requests and bytes from its container to a server, beside the same without a container."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path

from bench import wire
from bench.stage import ROOM, Figure, Stage, beside, figure, sandboxes
from roommate.domain import Destination, Hand, Question, RoomId, UserId
from roommate.features.egress import proxy
from roommate.features.egress.gate import Gate
from roommate.features.egress.proxy import EgressProxy
from roommate.features.egress.safe_connect import Addresses
from roommate.features.github import git_server as git_server
from roommate.features.github.forge import Forge, Site
from roommate.features.github.git_server import GitServer
from roommate.features.model_gateway import gateway as model_gateway
from roommate.features.model_gateway.gateway import Gateway
from roommate.features.model_gateway.providers import providers
from roommate.store import AgentUsages, Audit, Database, Egress, Repos
from roommate.tunnels.port_services import RoomPorts

SOURCE = Path(wire.__file__)
PATH = "/openai/v1/responses"
BIG, SMALL = 200_000_000, 100
"""Bytes of an answer."""
TIMES = 3


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    async with (
        _server() as server,
        broker_to({"openai": f"http://127.0.0.1:{server}"}, server) as broker,
        sandboxes(stage.image) as (rooms, _),
    ):
        rooms.attach(broker.attach)
        return await _measure(await rooms.hand(ROOM), server, rounds)


async def _measure(hand: Hand, server: int, rounds: int) -> list[Figure]:
    quick = figure("request to a server of this machine", await _outside(server, SMALL, rounds * 5))
    wide = _speed("bytes from a server of this machine", await _outside(server, BIG, TIMES))
    figures = [quick, wide]
    ways: tuple[tuple[str, int, list[str]], ...] = (
        ("proxy", proxy.PORT, [f"127.0.0.1:{server}"]),
        ("model gateway", model_gateway.PORT, []),
    )
    for name, port, proxied in ways:
        requests = await _inside(hand, port, SMALL, rounds * 5, proxied)
        added = [seconds - quick.value / 1000 for seconds in requests]
        big = _speed(f"bytes through the {name}", await _inside(hand, port, BIG, TIMES, proxied), least=300)
        figures += [figure(f"what the {name} adds to a request", added, goal=2), beside(big, wide)]
    return figures


def _speed(name: str, seconds: Sequence[float], least: float | None = None) -> Figure:
    return figure(name, [BIG / one / 1e6 for one in seconds], "MB/s", least=least)


async def _outside(port: int, size: int, times: int) -> list[float]:
    command = (sys.executable, "-I", "-S", SOURCE, "ask", str(port), PATH, str(size), str(times))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return [float(line) for line in printed.split()]


async def _inside(hand: Hand, port: int, size: int, times: int, proxied: Sequence[str]) -> list[float]:
    printed = bytearray()
    command = ("python3", "-I", "-S", "-c", SOURCE.read_text(), "ask", str(port), PATH, str(size), str(times), *proxied)
    ended = await hand.run(command, on_output=printed.extend)
    assert ended.code == 0, printed.decode()
    return [float(line) for line in printed.split()]


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, SOURCE, "serve", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def broker_to(bases: Mapping[str, str], *ports: int) -> AsyncIterator[RoomPorts]:
    """One that knows these providers, and lets out to these ports of this machine."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        database = Database.open(Path(folder))
        egress = Egress(database)
        for port in ports:
            await egress.add(ROOM, Destination("127.0.0.1", port), UserId("@bench:localhost"))
        gateway = Gateway(providers(dict.fromkeys(bases, "a key"), bases), AgentUsages(database))
        gate, forge = Gate(egress, _Nobody(), registries=_no_registries), Forge(Site.of("http://forge.invalid"))
        git = GitServer(forge, Repos(database), gate.refusal, Audit(database), protected=(), folder=Path(folder))
        served = RoomPorts(
            {proxy.PORT: EgressProxy(gate, Addresses(loopback=True)), model_gateway.PORT: gateway, git_server.PORT: git}
        )
        try:
            yield served
        finally:
            await served.close()
            await database.close()


class _Nobody:
    """`Ask`: an agent that looks for news of itself gets none."""

    async def __call__(self, room_id: RoomId, question: Question, seconds: float) -> str | None:
        return ""

    async def unneeded(self, room_id: RoomId, what: str, subjects: Collection[str]) -> None:
        pass


async def _no_registries() -> Sequence[Destination]:
    return ()
