"""What every room shares: the stores and ports of the daemon; and the turn that runs in a room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roommate.agent.turn import Outcome
from roommate.config import Settings
from roommate.ports import Doors, Model, Progress, Sandboxes, Tools
from roommate.store import Cards, Inbox, Outbox, Rooms, Turn, Turns
from roommate.words import RoomId, UserId


@dataclass(frozen=True, slots=True)
class House:
    """What every room needs of the daemon."""

    settings: Settings
    names: Sequence[str]
    """What people call the bot."""
    inbox: Inbox
    outbox: Outbox
    turns: Turns
    rooms: Rooms
    cards: Cards
    progress: Progress
    doors: Doors
    sandboxes: Sandboxes
    model: Callable[[str], Model]
    tools: Callable[[RoomId], Tools]


@dataclass(slots=True)
class Running:
    """The turn that runs. Cancelling `work` stops it."""

    turn: Turn
    work: asyncio.Task[Outcome]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """How it ended is stored."""
    stopped_by: UserId | None = None
    typing: bool = False
    """People see the bot as typing."""
    silent: bool = False
    """The room is gone: nobody is there to read how it ended."""
