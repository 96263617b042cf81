"""What a feature gives to the bot: of each kind what it has, and the rest is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from roommate.administration.startup_order import Service
from roommate.domain import CardKind
from roommate.rooms.card_decisions import Becomes
from roommate.rooms.questions import Decide
from roommate.store import Turn
from roommate.tools.tool import Source
from roommate.tunnels.port_services import Service as PortService

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Feature(NamedTuple):
    operations: Sequence[object] = ()
    """Their methods that are declared with `@operation` can be asked for, at every door."""
    tools: Callable[[Turn], Source] | None = None
    """What the model of a turn is offered besides."""
    cards: Mapping[CardKind, Decide] = _NOTHING
    """Who deals with what is chosen at its cards."""
    prompts: Mapping[str, Becomes] = _NOTHING
    """Kinds of cards whose answer is a prompt, and what the model is told then."""
    ports: Mapping[int, PortService] = _NOTHING
    """What is served to the programs of a room at these ports of their loopback."""
    services: Sequence[Service] = ()
    """What runs beside the rooms, each from its phase of the start on."""
