"""What operators look at: what was done, what it cost, whether all that the bot needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.chat import texts
from roommate.domain import AgentUsage, Check, RoomId
from roommate.errors import NotFound
from roommate.operations import Call, OfRoom, Params, Table, Who, operation
from roommate.rooms.sandboxes import Sandboxes
from roommate.settings.config import Settings
from roommate.store import AgentUsages, Audit, Inbox, Outbox, Record, Rooms, Turns
from roommate.text.amounts import cost
from roommate.text.printable import block

DOCTOR_SECONDS = 30
MOST_LINES = 50


class Lines(OfRoom):
    most: Annotated[int, Field(ge=1, title="N", description="How many lines.")] = 10


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


def _table(rooms: Sequence[RoomUsage]) -> Table:
    rows = [
        (
            one.room_id,
            one.name,
            str(one.turns),
            str(one.input_tokens),
            str(one.output_tokens),
            cost(one.cost),
            ", ".join(f"{of.agent} {of.usage.input_tokens + of.usage.output_tokens}" for of in one.agents),
        )
        for one in rooms
    ]
    return Table(rows, ("room", "name", "turns", "tokens in", "tokens out", "cost", "coding agents"))


@dataclass(frozen=True, slots=True)
class Oversight:
    settings: Callable[[], Settings]
    rooms: Rooms
    turns: Turns
    inbox: Inbox
    outbox: Outbox
    log: Audit
    agent_usages: AgentUsages
    sandboxes: Sandboxes
    silent_seconds: Callable[[], float | None]

    @operation(
        "usage", reads=lambda found: _table(found).block, terminal=_table, who=Who.OPERATORS, chat="usage", cli="usage"
    )
    async def usage(self, params: Params, call: Call) -> Sequence[RoomUsage]:
        """Shows what each room has spent."""
        found = []
        for row in await self.rooms.all():
            spending = await self.turns.spending(row.room_id)
            used, agents = spending.usage, await self.agent_usages.of(row.room_id)
            usage = (used.input_tokens, used.output_tokens, used.cost)
            found.append(RoomUsage(row.room_id, row.name or "", spending.turns, *usage, agents))
        return found

    @operation(
        "audit.list",
        reads=lambda lines: block("\n".join(lines)) if lines else "Nothing was recorded in this room.",
        who=Who.OPERATORS,
        chat="audit",
    )
    async def audit(self, params: Lines, call: Call) -> Sequence[str]:
        # This room's alone: other people read here, too.
        """Shows the newest of what was done in a room, and by whom."""
        records: Sequence[Record] = await self.log.newest(min(params.most, MOST_LINES), call.its_room)
        return [texts.deed(record.at, record.deed, room=False) for record in records]

    @operation("doctor", reads=texts.checked, who=Who.OPERATORS, chat="doctor")
    async def doctor(self, params: Params, call: Call) -> Sequence[Check]:
        """Looks at everything I need, and says how to mend it."""
        from roommate.administration.doctor_checks import Known, examine

        known = Known(await self.inbox.account(), await self.outbox.pace(), True, self.silent_seconds())
        seconds = DOCTOR_SECONDS * self.settings().patience
        try:
            async with asyncio.timeout(seconds):
                return await examine(self.settings(), known, self.sandboxes.check)
        except TimeoutError:
            raise NotFound(f"it took longer than {seconds:g} s: look with `roommate doctor` on the host") from None
