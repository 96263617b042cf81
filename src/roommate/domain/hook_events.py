"""What hooks in a room report."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class HookKind(enum.StrEnum):
    """What an IPC file is; part of its name."""

    PROGRESS = "event-progress"
    RESULT = "event-result"
    NOTIFICATION = "notification"
    APPROVAL = "approval-request"


IN_TURN = "ROOMMATE_TURN"
"""Variable in the environment of what a turn starts: hooks report it."""


@dataclass(frozen=True, slots=True)
class HookEvent:
    """What a hook in the room's container reported: from a hostile place, cleaned and bounded."""

    kind: HookKind
    agent: str = ""
    """Such as ``gemini``; empty for hooks of others."""
    session: str = ""
    tool: str = ""
    """The tool that the agent calls; empty where it is about none."""
    summary: str = ""
    """What the call is about, or the title of a notification."""
    ok: bool | None = None
    """None before it has ended."""
    seconds: float | None = None
    exit_code: int | None = None
    text: str = ""
    """What the call or the agent gave; of an approval request the kind of risk, such as ``push``."""
    asks: str = ""
    """Id of an approval request; the answer carries it."""
    command: str = ""
    """What an approval request is about, as it would be done: all of it, or more than may be asked about."""
    turn: int | None = None
    """In which it says that it was started, where it says so."""
    asked_at: float = 0.0
    """Of an approval request: when it was left, in seconds since 1970. The hook waits for so long and no longer."""
