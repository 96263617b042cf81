"""Somebody asks for an operation: who, where, and through which door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from roommate.domain import Deed, DeedOutcome, Question, RoomId
from roommate.errors import RoommateError
from roommate.operations.operation import Operation, Who
from roommate.store import Work


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of it, and what the audit log says of that."""

    operation: Operation[Any, Any, Any]
    result: Any
    deeds: Sequence[Deed] = ()


class Door(Protocol):
    """Through which somebody asks, for one call."""

    @property
    def stores(self) -> bool:
        """Must an answer be stored, although nothing was changed?"""

    def settling(self, deal: Work[Settled]) -> Work[bool]:
        """The transaction that deals with the call, by `deal`; False where it was dealt with before, and nothing is
        done."""

    async def ask(self, question: Question, room_id: RoomId, deeds: Sequence[Deed]) -> Any:
        """Put up a card; gives the result of the call."""

    async def fail(self, error: RoommateError, deeds: Sequence[Deed]) -> None:
        """Tell why it was not done, here or by raising the error, and write it down."""


async def _nobody(piece: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Call:
    who: str
    """As `Deed` has it."""
    name: str
    """For people: a Matrix id, ``ann on the host``."""
    via: str
    """As `Deed` has it."""
    may: Who
    door: Door
    asked_at: float
    """Seconds since 1970, by the clock of who sent it."""
    here: RoomId | None = None
    """The room that it is said in."""
    thread: str | None = None
    room: RoomId | None = None
    """The room that it is about; None for all of them, or where that makes no sense."""
    tell: Callable[[Any], Awaitable[None]] = _nobody
    """Send a piece of the answer ahead of it, where the door can."""
    seq: int = 0
    """Row of the inbox that it came in, if any."""
    doing: Deed | None = None
    """What the audit log says of it. Who stores that with what it does gives `Unchanged`."""

    @property
    def its_room(self) -> RoomId:
        """Of an operation that is always about a room."""
        assert self.room is not None
        return self.room

    def deed(self, what: str, outcome: DeedOutcome = DeedOutcome.DONE, subject: str = "", detail: str = "") -> Deed:
        """What the audit log says of this call."""
        return Deed(self.who, self.via, what, outcome, self.room or self.here, subject, detail)
