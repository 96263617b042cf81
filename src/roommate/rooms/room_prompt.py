"""What a room tells its model besides: the agents that it can ask, the prompt that was set, AGENTS.md; and `!ask`."""

from __future__ import annotations

import asyncio

from roommate.agent.coding_agent_model import DIRECT
from roommate.agent.prompt import INSTRUCTIONS_LENGTH, Surroundings
from roommate.chat.commands import Command
from roommate.coding_agents import PLANS
from roommate.domain import RoomId
from roommate.errors import SandboxError, ToolError
from roommate.house import House

INSTRUCTIONS = "AGENTS.md"
READ_SECONDS = 5.0
"""No turn waits longer for a container that does not come up."""


def asked_directly(command: Command | None) -> tuple[str, str] | None:
    """The model and the prompt of a turn that a coding agent does alone (``!ask gemini …``)."""
    if command is None or command.name != "ask":
        return None
    name, _, task = command.argument.partition(" ")
    return (DIRECT + name.lower(), task.strip()) if name.lower() in PLANS and task.strip() else None


async def surroundings(room_id: RoomId, house: House) -> Surroundings:
    """What the system prompt says of a room."""
    row = await house.rooms.get(room_id)
    return Surroundings(house.agents(room_id).names, row.prompt or "", await _instructions(room_id, house))


async def _instructions(room_id: RoomId, house: House) -> str:
    """The workspace's AGENTS.md. A container that rests is started for it: a new room has none yet."""
    if not house.sandboxes.has_files(room_id):
        return ""
    try:
        async with asyncio.timeout(READ_SECONDS):
            hand = await house.sandboxes.hand(room_id)
            return (await hand.read(INSTRUCTIONS, limit=4 * INSTRUCTIONS_LENGTH)).content.decode("utf-8", "replace")
    except (SandboxError, ToolError, TimeoutError):
        return ""
