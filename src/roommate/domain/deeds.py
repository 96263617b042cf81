"""Who did what: the audit log's lines."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from roommate.domain.ids import RoomId


class DeedOutcome(enum.StrEnum):
    DONE = "done"
    REFUSED = "refused"
    """Whoever asked for it may not."""
    FAILED = "failed"


DAEMON = "daemon"
"""Who did it where nobody asked; and where it came from then."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done, or refused, and that an operator may have to account for: a line of the audit log.

    What people write, what models answer and what is secret has no place in it.
    """

    who: str
    """Matrix id, ``uid 1000`` at the control socket, a peer's key, or DAEMON."""
    via: str
    """Where it came from: the id of the event in chat, ``socket``, a file, or DAEMON."""
    what: str
    """Such as ``egress.add``: the thing, and what became of it."""
    outcome: DeedOutcome = DeedOutcome.DONE
    room_id: RoomId | None = None
    subject: str = ""
    """What it was done to, such as a host or a room's new model."""
    detail: str = ""
    """Why it was refused or failed, or how it was done."""
