"""What an update is at."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from roommate.domain.ids import RoomId


class UpdateStep(enum.StrEnum):
    """In their order; what an update is at."""

    BUILD = "build"
    CHECK = "check"
    IMAGE = "image"
    RESTART = "restart"
    """The running daemon closes, saves the database and hands over."""
    TRIAL = "trial"
    """The new release runs, takes in what is said and answers nothing: it can still go back with nothing lost."""
    CONFIRMED = "confirmed"
    """It works for people from here on."""
    DONE = "done"
    FAILED = "failed"
    """The old release runs, on the database as it left it."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step of an update that has come to its end; ``said`` is one line for people."""

    step: UpdateStep
    seconds: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """An update from one release to another, both named by the first 12 digits of their commits."""

    id: str
    old: str
    new: str
    commit: str
    """The new release's, whole."""
    by: str
    """Who wanted it: a Matrix id, or a user of this machine."""
    started: float
    """Seconds since 1970, as all times here."""
    step: UpdateStep = UpdateStep.BUILD
    step_began: float = 0.0
    taken: tuple[StepTaken, ...] = ()
    why: str = ""
    """Why it fails, once that is clear."""
    runs: bool = True
    """A daemon ran when it began, and one is to run when it ends."""
    supervised: bool = False
    """Somebody else, such as systemd, starts the daemon again when it ends."""
    room_id: RoomId | None = None
    message: int | None = None
    """Outbox id of the message in that room that tells how it goes."""
    told: bool = False
    """People were told how it ended."""

    @property
    def open(self) -> bool:
        return self.step not in (UpdateStep.DONE, UpdateStep.FAILED)
