"""The daemon's end of a room's tunnels: what lets requests out, adds keys and counts cost."""

from roommate.broker.addresses import Addresses
from roommate.broker.broker import Broker
from roommate.broker.gate import Gate
from roommate.broker.gateway import Gateway
from roommate.broker.providers import providers
from roommate.broker.registries import Registries

__all__ = ["Addresses", "Broker", "Gate", "Gateway", "Registries", "providers"]
