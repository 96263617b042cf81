"""Where a room's container may connect to without a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from roommate.domain import Destination, UserId
from roommate.errors import Misused
from roommate.features.egress import host_rules
from roommate.features.egress.gate import Gate
from roommate.operations import Call, Change, OfRoom, Who, changing, changing_if, operation
from roommate.store import Egress as EgressStore
from roommate.store import egress

PRESETS = {
    "none": "nothing",
    "registries": "the package registries that the image is set up for",
    "github": "GitHub",
    "all": "every host of the internet, ports 80 and 443",
}


class OfHost(OfRoom):
    host: Annotated[
        str, Field(title="HOST[:PORT]", description="Such as example.org, example.org:8443 or *.example.org.")
    ]


class Presets(OfRoom):
    names: Annotated[
        list[Literal["none", "registries", "github", "all"]],
        Field(min_length=1, title="none|registries|github|all", description="One of them, or some."),
    ]


@dataclass(frozen=True, slots=True)
class Allowed:
    presets: Sequence[str]
    hosts: Sequence[str]


def _rule(params: OfHost) -> Destination:
    """Raises Misused."""
    if (rule := host_rules.typed(params.host)) is None:
        raise Misused(f"`{params.host}` is no host: write `example.org`, `example.org:8443` or `*.example.org`.")
    return rule


def _shown(allowed: Allowed) -> str:
    lines = [f"- preset `{name}`: {PRESETS[name]}" for name in allowed.presets]
    lines += [f"- `{rule}`" for rule in allowed.hosts]
    return "This room's container may connect to:\n\n" + "\n".join(lines) + "\n\nAbout any other host I ask here."


@dataclass(frozen=True, slots=True)
class Egress:
    gate: Gate
    rules: EgressStore

    @operation("egress.show", reads=_shown, who=Who.ANYONE, chat="egress", cli="egress show")
    async def show(self, params: OfRoom, call: Call) -> Allowed:
        """Shows where a room's container may connect to."""
        return await self._allowed(call, await self.gate.presets(call.its_room))

    @operation(
        "egress.add",
        who=Who.OPERATORS,
        audit="egress.add",
        subject=lambda params: params.host,
        chat="egress add",
        cli="egress add",
    )
    async def add(self, params: OfHost, call: Call) -> Change[str]:
        """Lets a room's container connect to one host more."""
        rule = _rule(params)
        opening = egress.opening(call.its_room, rule, UserId(call.name))
        text = f"This room's container may connect to `{rule}` now."
        return changing([opening], text, str(rule), after=partial(self.gate.changed, call.its_room))

    @operation(
        "egress.remove",
        who=Who.OPERATORS,
        audit="egress.remove",
        subject=lambda params: params.host,
        chat="egress remove",
        cli="egress remove",
    )
    async def remove(self, params: OfHost, call: Call) -> Change[str]:
        """Takes a host away from those."""
        rule = _rule(params)
        gone = f"`{rule}` is not among this room's hosts"
        shutting = egress.shutting(call.its_room, rule)
        return changing_if(shutting, f"{gone} any more.", f"{gone}; `!egress` shows them.", str(rule))

    @operation(
        "egress.preset",
        reads=_shown,
        who=Who.OPERATORS,
        audit="egress.preset",
        subject=lambda params: " ".join(params.names),
        chat="egress preset",
        cli="egress preset",
    )
    async def preset(self, params: Presets, call: Call) -> Change[Allowed]:
        """Sets where a room's container may connect to without a question."""
        chosen = egress.choosing_presets(call.its_room, params.names)
        allowed = await self._allowed(call, params.names)
        return changing([chosen], allowed, after=partial(self.gate.changed, call.its_room))

    async def _allowed(self, call: Call, presets: Sequence[str]) -> Allowed:
        return Allowed(list(presets), [str(rule) for rule in await self.rules.rules(call.its_room)])
