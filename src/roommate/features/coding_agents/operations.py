"""Which coding agents a room has, and whom it asks first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import RoomId
from roommate.errors import Misused, RoommateError
from roommate.features.coding_agents.agent_clis import AGENT_CLIS, AgentCli
from roommate.features.coding_agents.delegated_tasks import HOW_TO_GET, NOT_INSTALLED, RoomAgents
from roommate.operations import Call, Change, OfRoom, Params, Who, changing, operation
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.settings.config import Settings
from roommate.store import Agents, agent_sessions

ASK_USAGE = f"`!ask AGENT …` talks to a coding agent: {', '.join(f'`{name}`' for name in AGENT_CLIS)}."
AGENTS = ", ".join(AGENT_CLIS)
ROLES = ("plan", "implement")
READY = "ready"


class Preferred(OfRoom):
    role: Annotated[str, Field(title="plan|implement|default", description="For which work; default: as it was.")]
    names: Annotated[list[str], Field(title="NAME", description=f"Whom to ask first: {AGENTS}.")] = Field([])


class Task(Params):
    task: Annotated[str, Field(title="AGENT …")] = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """`state` is READY, or what is missing."""

    name: str
    title: str
    state: str
    installed: bool


@dataclass(frozen=True, slots=True)
class Known:
    """`order` is whom the room asks first, by the kind of work; `problem` is why the agents are not known."""

    agents: Sequence[Agent]
    order: Mapping[str, Sequence[str]]
    problem: str = ""


def _agent(cli: AgentCli, state: str) -> Agent:
    return Agent(cli.name, cli.title, state, installed=NOT_INSTALLED not in state)


def _shown(known: Known) -> str:
    if known.problem:
        return f"Whether there are coding agents is not known: {known.problem}"
    if not any(one.installed for one in known.agents):
        return (
            f"No coding agents here yet. {HOW_TO_GET}; then there are {', '.join(one.title for one in known.agents)}."
        )
    lines = [f"- `{one.name}` ({one.title}): {one.state.removeprefix(f'{one.name} ')}" for one in known.agents]
    return "\n".join(lines) + "\n\n" + _ordered(known.order)


def _ordered(order: Mapping[str, Sequence[str]]) -> str:
    parts = [f"`{role}` asks {', then '.join(f'`{name}`' for name in names)}" for role, names in order.items()]
    return " · ".join(parts) + "; where they are not there, whoever is."


@dataclass(frozen=True, slots=True)
class CodingAgents:
    settings: Callable[[], Settings]
    log: Agents
    agents: Callable[[RoomId], RoomAgents]
    sandboxes: Sandboxes

    @operation("agents.show", reads=_shown, who=Who.ANYONE, chat="agents", cli="agents show")
    async def show(self, params: OfRoom, call: Call) -> Known:
        """Shows the coding agents, and whom a room asks first."""
        order = await self._order(call.its_room, {})
        try:
            missing = await self.agents(call.its_room).missing(await self.sandboxes.hand(call.its_room))
        except RoommateError as error:
            return Known((), order, str(error))
        return Known([_agent(cli, missing.get(cli.name, READY)) for cli in AGENT_CLIS.values()], order)

    @operation(
        "agents.prefer",
        reads=_ordered,
        who=Who.OPERATORS,
        audit="agents",
        subject=lambda params: " ".join([params.role, *params.names]),
        chat="agents",
        cli="agents prefer",
    )
    async def prefer(self, params: Preferred, call: Call) -> Change[Mapping[str, Sequence[str]]]:
        """Sets whom a room asks first."""
        role, names = params.role.lower(), [name.lower() for name in params.names]
        if role == "default" and not names:
            chosen: dict[str, Sequence[str]] = dict.fromkeys(ROLES, ())
        elif role in ROLES and names and set(names) <= set(AGENT_CLIS):
            await self._demand(call.its_room, names)
            chosen = {role: list(dict.fromkeys(names))}
        else:
            raise Misused(f"Say `plan` or `implement` and some of {AGENTS}; or `default`.")
        preferring = [agent_sessions.preferring(call.its_room, one, names) for one, names in chosen.items()]
        return changing(preferring, await self._order(call.its_room, chosen), " ".join([role, *names]))

    @operation("agents.ask", who=Who.ANYONE, chat="ask", socket=False)
    async def ask(self, params: Task, call: Call) -> str:
        """Talks to a coding agent directly, such as `!ask gemini what is this project?`."""
        return ASK_USAGE  # one that says it right is a turn

    async def _demand(self, room_id: RoomId, names: Sequence[str]) -> None:
        """Raises Misused where one of them cannot be asked; whether it can may not be known now."""
        try:
            missing = await self.agents(room_id).missing(await self.sandboxes.hand(room_id))
        except RoommateError:
            return
        if wrong := [missing[name] for name in names if name in missing]:
            how = f" {HOW_TO_GET}." if any(NOT_INSTALLED in one for one in wrong) else ""
            raise Misused(f"Nothing was changed: {'; '.join(wrong)}.{how}")

    async def _order(self, room_id: RoomId, chosen: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Whom the room asks first: as it is `chosen` now, else as it was."""
        settings = self.settings()
        defaults = {"plan": settings.plan_agent, "implement": settings.implement_agent}
        return {
            role: list((chosen[role] if role in chosen else await self.log.preferred(room_id, role)) or defaults[role])
            for role in ROLES
        }
