"""What the rooms have spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roommate.house import House
from roommate.words import AgentUsage, RoomId


@dataclass(frozen=True, slots=True)
class RoomUsage:
    """`cost` is US dollars, None where no price is known; `agents` used theirs besides."""

    room_id: RoomId
    name: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    agents: Sequence[AgentUsage]


async def usage(house: House) -> Sequence[RoomUsage]:
    found = []
    for row in await house.rooms.all():
        spending = await house.turns.spending(row.room_id)
        used, agents = spending.usage, await house.agent_usages.of(row.room_id)
        found.append(
            RoomUsage(
                row.room_id,
                row.name or "",
                spending.turns,
                used.input_tokens,
                used.output_tokens,
                used.cost,
                agents,
            )
        )
    return found
