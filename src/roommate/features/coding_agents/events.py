"""What a coding agent does, in our own words, whatever its stream looks like."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.domain import Usage


@dataclass(frozen=True, slots=True)
class Began:
    """The id under which this session can be continued."""

    session: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """A text of the agent; with `more` it goes on where the last one ended."""

    text: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """It calls one of its own tools. `subject` is what about, `change` what that does to a file, as a diff."""

    id: str
    tool: str
    subject: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call gave."""

    id: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is done, as it says itself; `error` is why not, in its own words."""

    usage: Usage
    error: str = ""


@dataclass(frozen=True, slots=True)
class Complained:
    """It says that something is wrong, and goes on."""

    text: str


AgentEvent = Began | Spoke | Called | Returned | Ended | Complained
