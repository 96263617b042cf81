"""The rooms: a line for each, one of them at length, and what operators do to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.errors import NotFound
from roommate.house import House
from roommate.store import RoomRow, Rooms
from roommate.words import AgentUsage, RoomId

DESCRIBE_SECONDS = 5
"""How long Podman may take to tell how a container is: a room's other commands wait behind it."""


@dataclass(frozen=True, slots=True)
class RoomLine:
    """A room at a glance. `members` counts the bot."""

    room_id: RoomId
    name: str
    members: int
    model: str
    encrypted: bool
    paused: str
    """By whom, empty when it is not."""
    turn: int | None
    """The one that runs."""
    waiting: int
    container: bool
    """It is up."""


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room at length. Tokens and cost (US dollars, None where no price is known) are of all its turns."""

    line: RoomLine
    sandbox: str
    prompt: str
    turns: int
    tokens: int
    cost: float | None
    agents: Sequence[AgentUsage]


async def rooms(house: House) -> Sequence[RoomLine]:
    """Those that the bot is in."""
    queues = await house.inbox.queues()
    running = {turn.room_id: turn.id for turn in await house.turns.running()}
    return [_line(house, row, running.get(row.room_id), queues.get(row.room_id, 0)) for row in await house.rooms.all()]


async def room(house: House, named: str) -> RoomView:
    """Raises NotFound."""
    row = await find(house.rooms, named)
    [line] = [line for line in await rooms(house) if line.room_id == row.room_id]
    spending = await house.turns.spending(row.room_id)
    return RoomView(
        line=line,
        sandbox=await sandbox(house, row.room_id),
        prompt=row.prompt or "",
        turns=spending.turns,
        tokens=spending.usage.input_tokens + spending.usage.output_tokens,
        cost=spending.usage.cost,
        agents=await house.agent_usages.of(row.room_id),
    )


async def find(rooms: Rooms, named: str) -> RoomRow:
    """The room that the bot is in of this id, of an id that begins so, or of this name. Raises NotFound."""
    known = await rooms.all()
    begins = named.removeprefix("!")
    for found in (
        [row for row in known if row.room_id == named],
        [row for row in known if row.name == named],
        [row for row in known if row.room_id.removeprefix("!").startswith(begins)],
    ):
        if len(found) > 1:
            raise NotFound(f"{len(found)} rooms are meant by {named!r}: write more of its id")
        if found:
            return found[0]
    raise NotFound(f"the bot is in no room {named!r}: `roommate rooms ls` shows those that it is in")


async def leave(house: House, room_id: RoomId) -> None:
    """The bot leaves the room; its container goes, its files stay. Raises MatrixError."""
    await house.doors.leave(room_id, "an operator sent me away")


async def sandbox(house: House, room_id: RoomId) -> str:
    """How the room's container is, in a line."""
    try:
        async with asyncio.timeout(DESCRIBE_SECONDS):
            return await house.sandboxes.describe(room_id)
    except TimeoutError:
        return f"Podman has not answered within {DESCRIBE_SECONDS} s"


def _line(house: House, row: RoomRow, turn: int | None, waiting: int) -> RoomLine:
    pause = house.holds.of(row.room_id)
    return RoomLine(
        room_id=row.room_id,
        name=row.name or "",
        members=row.joined,
        model=row.model or house.settings.llm_model,
        encrypted=row.encrypted,
        paused=pause.by if pause else "",
        turn=turn,
        waiting=waiting,
        container=house.sandboxes.up(row.room_id),
    )
