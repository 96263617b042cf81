"""The daemon's end of a room's tunnels: what lets requests out, adds keys and counts cost."""

from roommate.broker.addresses import Addresses
from roommate.broker.broker import Broker
from roommate.broker.egress_gate import Gate
from roommate.broker.forge import Forge, Site
from roommate.broker.gateway import Gateway
from roommate.broker.git import GitServer
from roommate.broker.proposals import RoomProposals
from roommate.broker.providers import providers
from roommate.broker.registries import Registries

__all__ = [
    "Addresses",
    "Broker",
    "Forge",
    "Gate",
    "Gateway",
    "GitServer",
    "Registries",
    "RoomProposals",
    "Site",
    "providers",
]
