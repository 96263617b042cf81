"""What each room has spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roommate.domain import AgentUsage, RoomId
from roommate.operations import Call, Params, Table, Who, operation
from roommate.rooms.token_budget import TokenBudget
from roommate.store import AgentUsages, MessageReactions, Rooms, Turns
from roommate.text.amounts import cost, grouped
from roommate.text.printable import plain


@dataclass(frozen=True, slots=True)
class RoomUsage:
    """`cost` is US dollars, None where no price is known; `agents` used theirs besides."""

    room_id: RoomId
    name: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    cached_tokens: int
    """Of `input_tokens`, those that providers had in their caches."""
    today: int
    """Tokens of all kinds since midnight, those of coding agents as well."""
    a_day: int
    """What they may be; 0 is no limit."""
    agents: Sequence[AgentUsage]
    feedback: Mapping[str, int]
    """How often people have given each sign for an answer."""


def _table(rooms: Sequence[RoomUsage]) -> Table:
    rows = [
        (
            one.room_id,
            one.name,
            str(one.turns),
            str(one.input_tokens),
            str(one.cached_tokens),
            str(one.output_tokens),
            cost(one.cost),
            f"{one.today} of {one.a_day}" if one.a_day else str(one.today),
            ", ".join(f"{of.agent} {of.usage.input_tokens + of.usage.output_tokens}" for of in one.agents),
            " ".join(f"{key} {count}" for key, count in sorted(one.feedback.items())),
        )
        for one in rooms
    ]
    return Table(
        rows,
        ("room", "name", "turns", "tokens in", "cached", "tokens out", "cost", "today", "coding agents", "feedback"),
    )


def _list(rooms: Sequence[RoomUsage]) -> str:
    """As Markdown for a phone: a line for each room in which something was spent."""
    spent = [one for one in rooms if one.turns or one.today or one.feedback]
    return "\n".join(f"- **{plain(one.name) or one.room_id}**: {_of(one)}" for one in spent) or "Nothing was spent yet."


def _of(one: RoomUsage) -> str:
    parts = [
        f"{one.turns} turn{'s' if one.turns != 1 else ''}",
        f"{grouped(one.input_tokens)} tokens in and {grouped(one.output_tokens)} out",
        cost(one.cost),
        f"today {grouped(one.today)}" + (f" of {grouped(one.a_day)}" if one.a_day else ""),
        *(f"{of.agent} {grouped(of.usage.input_tokens + of.usage.output_tokens)}" for of in one.agents),
        " ".join(f"{key} {count}" for key, count in sorted(one.feedback.items())),
    ]
    return " · ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Usages:
    rooms: Rooms
    turns: Turns
    agent_usages: AgentUsages
    reactions: MessageReactions
    budget: TokenBudget

    @operation("usage", reads=_list, terminal=_table, who=Who.OPERATORS, chat="usage", cli="usage")
    async def usage(self, params: Params, call: Call) -> Sequence[RoomUsage]:
        """Shows what each room has spent."""
        found, feedback = [], await self.reactions.feedback()
        for row in await self.rooms.all():
            spending = await self.turns.spending(row.room_id)
            used, agents = spending.usage, await self.agent_usages.of(row.room_id)
            usage = (used.input_tokens, used.output_tokens, used.cost, used.cached_tokens)
            day = (await self.budget.today(row.room_id), await self.budget.limit(row.room_id))
            rated = feedback.get(row.room_id, {})
            found.append(RoomUsage(row.room_id, row.name or "", spending.turns, *usage, *day, agents, rated))
        return found
