"""What a room tells its model besides: the agents that it can ask, the prompt that was set, and AGENTS.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roommate.agent.prompt import INSTRUCTIONS_LENGTH, Surroundings
from roommate.domain import RoomId
from roommate.errors import SandboxError, ToolError
from roommate.host import deadlines
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.store import Rooms

INSTRUCTIONS = "AGENTS.md"
READ_SECONDS = 5.0
"""No turn waits longer for a container that does not come up."""


@dataclass(frozen=True, slots=True)
class RoomPrompts:
    """Of all rooms; `agents` names those that a room can ask."""

    rooms: Rooms
    sandboxes: Sandboxes
    agents: Callable[[RoomId], Sequence[str]]

    async def surroundings(self, room_id: RoomId) -> Surroundings:
        """What the system prompt says of a room."""
        row = await self.rooms.get(room_id)
        return Surroundings(self.agents(room_id), row.prompt or "", await self._instructions(room_id))

    async def _instructions(self, room_id: RoomId) -> str:
        """The workspace's AGENTS.md. A container that rests is started for it: a new room has none yet."""
        if not self.sandboxes.has_files(room_id):
            return ""
        try:
            async with deadlines.within(READ_SECONDS):
                hand = await self.sandboxes.hand(room_id)
                return (await hand.read(INSTRUCTIONS, limit=4 * INSTRUCTIONS_LENGTH)).content.decode("utf-8", "replace")
        except (SandboxError, ToolError, TimeoutError):
            return ""
