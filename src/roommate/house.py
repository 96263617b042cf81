"""What every room shares: the stores and ports of the daemon; and the turn that runs in a room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from roommate.agent.turn import Outcome
from roommate.broker import Gate
from roommate.coders import RoomAgents
from roommate.config import Settings
from roommate.ports import Doors, Emit, Model, Progress, Sandboxes, Tools
from roommate.questions import Questions
from roommate.store import Agents, AgentUsages, Cards, Egress, Inbox, Ipc, Outbox, Rooms, Turn, Turns
from roommate.words import RoomId, UserId


@dataclass(frozen=True, slots=True)
class House:
    """What every room needs of the daemon."""

    settings: Settings
    inbox: Inbox
    outbox: Outbox
    turns: Turns
    rooms: Rooms
    cards: Cards
    questions: Questions
    ipc: Ipc
    egress: Egress
    gate: Gate
    agent_usages: AgentUsages
    progress: Progress
    doors: Doors
    sandboxes: Sandboxes
    model: Callable[[str], Model]
    tools: Callable[[RoomId], Tools]
    agent_log: Agents
    agents: Callable[[RoomId], RoomAgents]


@dataclass(slots=True)
class Running:
    """The turn that runs. Cancelling `work` stops it."""

    turn: Turn
    emit: Emit
    """Shows more in the turn's message."""
    work: asyncio.Task[Outcome] | None = None
    closing: bool = False
    """Its message takes no more."""
    stopped_by: UserId | None = None
    typing: bool = False
    """People see the bot as typing."""
    silent: bool = False
    """The room is gone: nobody is there to read how it ended."""
