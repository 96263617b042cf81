"""The rooms' way out: hosts, models and repositories, with nobody's keys in a room."""

from __future__ import annotations

from typing import NamedTuple

from roommate.composition.from_settings import site_of
from roommate.composition.kernel import Kernel
from roommate.domain import RoomId
from roommate.features.egress import proxy
from roommate.features.egress.gate import Ask, Gate
from roommate.features.egress.package_registries import Registries
from roommate.features.egress.proxy import EgressProxy
from roommate.features.egress.safe_connect import Addresses
from roommate.features.github import git_server
from roommate.features.github.forge import Forge
from roommate.features.github.git_server import GitServer
from roommate.features.github.pull_requests import RoomProposals
from roommate.features.model_gateway import gateway
from roommate.features.model_gateway.gateway import Gateway
from roommate.features.model_gateway.providers import providers
from roommate.monitoring.counting_ports import CountedUsages
from roommate.store import AgentUsages, Audit, Egress, Repos
from roommate.tunnels.port_services import RoomPorts


class WayOut(NamedTuple):
    gate: Gate
    forge: Forge
    ports: RoomPorts


def way_out(kernel: Kernel, ask: Ask) -> WayOut:
    """Served to every room whose container comes up from now on."""
    settings, database = kernel.settings(), kernel.database
    registries = Registries(kernel.sandboxes.in_image)
    presets, forever = settings.egress_presets, settings.egress_forever
    gate = Gate(Egress(database), ask, registries=registries, presets=presets, forever=forever)
    addresses = Addresses(internal=settings.egress_internal_hosts, mirrors=registries)
    known, usages = providers(settings.provider_keys, settings.provider_bases), AgentUsages(database)
    forge, repos, audit = Forge(site_of(settings)), Repos(database), Audit(database)
    protected, folder = settings.protected_branches, settings.state_dir
    ports = RoomPorts(
        {
            proxy.PORT: EgressProxy(gate, addresses),
            gateway.PORT: Gateway(known, CountedUsages(usages, kernel.counts)),
            git_server.PORT: GitServer(forge, repos, gate.refusal, audit, protected=protected, folder=folder),
        }
    )
    kernel.sandboxes.attach(ports.attach)
    return WayOut(gate, forge, ports)


def proposals(kernel: Kernel, forge: Forge, room_id: RoomId) -> RoomProposals | None:
    """How a room proposes changes, where there is a token for that."""
    if not forge.site.token:
        return None
    protected = kernel.settings().protected_branches
    return RoomProposals(room_id, forge, Repos(kernel.database), Audit(kernel.database), protected=protected)
