"""The broker behind real containers: nothing gets out but through it, and what an image says of its registries."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from roommate.domain import Destination
from roommate.features.egress.gate import Gate
from roommate.features.egress.proxy import EgressProxy
from roommate.features.egress.registries_of_image import Registries
from roommate.features.egress.safe_connect import Addresses
from roommate.features.github.forge import Forge, Site
from roommate.features.github.git_server import GitServer
from roommate.features.model_gateway.gateway import Gateway
from roommate.features.model_gateway.providers import providers
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.tunnels.port_services import RoomPorts
from tests.broker.conftest import Memory, People, server
from tests.broker.test_egress import hello
from tests.sandbox.conftest import ROOM, Make, host_memory, image, make, place, sh

__all__ = ["host_memory", "image", "make", "place"]


class Lodging:
    """Rooms with a broker whose world outside is the loopback of this machine."""

    def __init__(self, sandboxes: RoomSandboxes) -> None:
        self.sandboxes, self.memory, self.people = sandboxes, Memory(), People()

        async def none() -> Sequence[Destination]:
            return ()

        async def resolve(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        gate = Gate(self.memory, self.people, registries=none, wait=0.2)
        forge = Forge(Site.of("http://forge.invalid"))
        git = GitServer(forge, self.memory, gate.refusal, self.memory, protected=(), folder=Path(tempfile.gettempdir()))
        gateway = Gateway(providers({}, {}), self.memory)
        proxy = EgressProxy(gate, Addresses(loopback=True, resolve=resolve))
        self.ports = RoomPorts({3128: proxy, 8080: gateway, 9418: git})
        sandboxes.attach(self.ports.attach)


@pytest.fixture
async def lodging(make: Make) -> AsyncIterator[Lodging]:
    lodging = Lodging(make())
    yield lodging
    await lodging.sandboxes.close()
    await lodging.ports.close()


async def test_programs_find_the_way_out_by_themselves_and_no_other(lodging: Lodging) -> None:
    hand = await lodging.sandboxes.hand(ROOM)
    async with server(hello) as upstream:
        lodging.memory.kept = [Destination("upstream.test", upstream)]
        url = f"http://upstream.test:{upstream}/hello"
        assert (await sh(hand, f"curl -sS {url}")).text.startswith("GET /hello HTTP/1.1")
        script = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        assert (await sh(hand, f'python3 -c "{script}"')).text.startswith("GET /hello HTTP/1.1")
        around = await sh(hand, f"curl -sS --noproxy '*' http://127.0.0.1:{upstream}/")
        assert around.exit.code != 0
    refused = await sh(hand, "curl -sS http://elsewhere.test/")
    assert "Roommate: elsewhere.test:80 is not allowed in this room" in refused.text
    assert [question.subject for question in lodging.people.asked] == ["elsewhere.test:80"]


async def test_the_way_out_comes_back_with_the_container(lodging: Lodging) -> None:
    hand = await lodging.sandboxes.hand(ROOM)
    async with server(hello) as upstream:
        lodging.memory.kept = [Destination("upstream.test", upstream)]
        ask = f"curl -sS http://upstream.test:{upstream}/"
        assert (await sh(hand, ask)).exit.code == 0
        await lodging.sandboxes.reset_workspace(ROOM)
        again = await lodging.sandboxes.hand(ROOM)
        assert (await sh(again, ask)).exit.code == 0


async def test_a_second_hand_on_the_port_gets_nothing_but_its_own_room(lodging: Lodging) -> None:
    """A process that takes the port away deceives its own room only; the hand gets it back when it ends."""
    hand = await lodging.sandboxes.hand(ROOM)
    taken = await sh(hand, "python3 -m http.server --bind 127.0.0.1 3128 & sleep 1; wait -n; true")
    assert "Address already in use" in taken.text


async def test_an_image_tells_its_registries(make: Make) -> None:
    """Whatever this site's mirrors are, the clients in the image and we know the same ones."""
    sandboxes = make()
    found = await Registries(sandboxes.in_image)()
    hosts = {rule.host for rule in found}
    hand = await sandboxes.hand(ROOM)
    apt = (await sh(hand, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^#'")).text
    assert hosts
    assert any(host in apt for host in hosts)
    await hand.run(
        "mkdir -p ~/.config/pip; printf '[global]\\nindex-url = https://evil.test/simple\\n' > ~/.config/pip/pip.conf"
    )
    again = await asyncio.gather(Registries(sandboxes.in_image)(), Registries(sandboxes.in_image)())
    assert all("evil.test" not in {rule.host for rule in rules} for rules in again)
