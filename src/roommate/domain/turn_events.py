"""What happens in a turn: one stream of facts, one place turns them into chat."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from roommate.domain.conversation_steps import Prompt, ToolCall, ToolResult
from roommate.domain.hook_events import HookEvent
from roommate.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The model said a piece more."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model thinks before it speaks; `text` is more of its thought."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDropped:
    """The reply that was being streamed is given up: what it said since the last Said does not count. `why`, in few
    words, is for people; empty where it does not concern them."""

    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """The model's reply of this round is whole."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """`title` is what the call is about, as `Tools` has it."""

    call: ToolCall
    title: str = ""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A running tool printed; ``text`` is the newest piece, already decoded."""

    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolStep:
    """What runs within a tool call took a step of its own: a coding agent called one of its tools.

    A later event with the same `key` takes its place. Every text is a stranger's.
    """

    call_id: str
    key: str
    what: str
    subject: str = ""
    diff: str = ""
    ok: bool | None = None
    """None while it runs."""


@dataclass(frozen=True, slots=True)
class ToolFinished:
    result: ToolResult


@dataclass(frozen=True, slots=True)
class Spent:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know about this turn (resumed after a restart, older messages left out)."""

    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """People are asked, by this card, and the turn waits for them; once more when the `link` to it is known."""

    card: int
    about: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """The turn does not wait for the answer to this card any more."""

    card: int


@dataclass(frozen=True, slots=True)
class Steered:
    """The turn has taken in what somebody said to it while it ran."""

    said: Prompt


Event = (
    TextDelta
    | Thinking
    | TextDropped
    | Said
    | ToolStarted
    | ToolOutput
    | ToolStep
    | ToolFinished
    | Spent
    | Note
    | Asked
    | Settled
    | Steered
    | HookEvent
)

Emit = Callable[[Event], None]
"""Takes a fact of a turn. Never blocks, never raises: what it leads to in chat happens elsewhere."""


class Stop(enum.StrEnum):
    """Why a turn ended."""

    DONE = "done"
    ROUNDS = "rounds"
    STOPPED = "stopped"
    FAILED = "failed"
    BUDGET = "budget"
    """The tokens of the day are used up."""

    @classmethod
    def _missing_(cls, value: object) -> Stop:
        """Of a later release, which was rolled back: in any case the turn has ended."""
        return cls.FAILED
