"""The daemon's end of a room's tunnels: what lets requests out, adds keys and counts cost."""

from roommate.broker.egress_gate import Gate
from roommate.broker.forge import Forge, Site
from roommate.broker.gateway import Gateway
from roommate.broker.git import GitServer
from roommate.broker.package_registries import Registries
from roommate.broker.providers import providers
from roommate.broker.pull_requests import RoomProposals
from roommate.broker.safe_connect import Addresses

__all__ = [
    "Addresses",
    "Forge",
    "Gate",
    "Gateway",
    "GitServer",
    "Registries",
    "RoomProposals",
    "Site",
    "providers",
]
