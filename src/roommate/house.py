"""What every room shares: the stores and ports of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from roommate.broker import Forge, Gate
from roommate.coding_agents import RoomAgents
from roommate.domain import Deed, RoomId, UserId
from roommate.errors import Refused, Transient
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.ports import Doors, Model, Progress, Sandboxes, Spools, Tools, Window
from roommate.redeploy import Redeploys
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.questions import Questions
from roommate.rooms.retrying import patiently
from roommate.rooms.turn_holds import Holds
from roommate.settings.config import Settings
from roommate.store import (
    Agents,
    AgentUsages,
    Audit,
    Card,
    Cards,
    Egress,
    Inbox,
    Ipc,
    Outbox,
    Repos,
    Rooms,
    Turn,
    Turns,
    Upgrades,
    Vitals,
    Work,
)

AWAY_SECONDS = 60
"""Without an answer to a sync it is our own homeserver that is away."""
JOIN_TRIES = 10
"""Of a room whose server fails: four minutes, and as long as the homeserver itself waits for it each time."""


class Resident(Protocol):
    """A room that lives, as others than itself may use it."""

    @property
    def running(self) -> Sequence[Turn]: ...

    async def stop(
        self,
        by: UserId,
        meant: Callable[[Turn], bool] = ...,
        along: Callable[[int], Work[object] | None] | None = None,
    ) -> int: ...

    def look_again(self) -> None: ...

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed) -> str | None: ...


@dataclass(frozen=True, slots=True)
class House:
    """What every room needs of the daemon."""

    set_to: Callable[[], Settings]
    names: Sequence[str]
    """What people call the bot."""
    inbox: Inbox
    outbox: Outbox
    turns: Turns
    rooms: Rooms
    holds: Holds
    operations: Operations
    cards: Cards
    questions: Questions
    upgrades: Upgrades
    redeploys: Redeploys
    ipc: Ipc
    spool: Spools
    audit: Audit
    control: ControlRoom
    egress: Egress
    gate: Gate
    repos: Repos
    forge: Forge
    agent_usages: AgentUsages
    progress: Progress
    doors: Doors
    window: Window
    sandboxes: Sandboxes
    model: Callable[[str], Model]
    tools: Callable[[Turn], Tools]
    agent_log: Agents
    agents: Callable[[RoomId], RoomAgents]
    room: Callable[[RoomId], Resident]
    """The room's task, which is started where it does not run."""
    wake: Callable[[RoomId], None]
    """There is something new for this room in the inbox."""
    vitals: Vitals
    counts: Counts
    silent_seconds: Callable[[], float | None]
    """Since the homeserver last answered a sync; None before the first."""
    joining: set[RoomId]
    """Rooms that were joined since the start: the homeserver may not have said so yet."""
    trouble: Callable[[], str]
    """Why nothing can be kept at present, or what is damaged; empty when all is well."""

    @property
    def settings(self) -> Settings:
        """As they are now: an operator may change some of them while the daemon runs."""
        return self.set_to()

    async def join(self, room_id: RoomId, via: Sequence[str] = ()) -> None:
        """Raises Refused, also where the room's own server does not let us in, again and again, while ours is there:
        whoever waits for that waits for ever."""
        failures = 0

        def gives_up() -> bool:
            nonlocal failures
            silent = self.silent_seconds()
            failures += silent is not None and silent < AWAY_SECONDS
            return failures >= JOIN_TRIES

        try:
            await patiently(lambda: self.doors.join(room_id, via), gives_up=gives_up)
        except Transient as error:
            raise Refused(str(error)) from error
