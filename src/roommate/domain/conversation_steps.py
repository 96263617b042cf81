"""A conversation, as the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roommate.domain.ids import UserId
from roommate.domain.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is the raw text that the model wrote: it may be anything, JSON or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Picture:
    """For a model that sees."""

    mimetype: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Prompt:
    text: str
    sender: UserId
    picture_paths: tuple[str, ...] = ()
    """Of pictures in the workspace that belong to it."""
    pictures: tuple[Picture, ...] = ()
    """The same, for a model that sees: they are read when a turn begins, and not stored."""


@dataclass(frozen=True, slots=True)
class Thought:
    """Which `model` said something, and what its provider wants back with that, as it came, by its own names: it means
    nothing to another model."""

    model: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Answer:
    """What the model said in one round; with ``calls`` it waits for their results."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    thought: Thought | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ToolResult:
    """What a call gave. ``text`` is for the model; ``title`` is one short line for people (``exit 0 · 1.2 s``), who see
    the ``diff`` of what it changed in a file, too.

    ``picture`` is shown to the model as long as the turn runs; it is not stored, and the text does without.
    """

    call_id: str
    text: str
    ok: bool = True
    title: str = ""
    picture: Picture | None = None
    diff: str = ""


Step = Prompt | Answer | ToolResult
"""A row of a turn. A turn is one Prompt, then rounds of one Answer and a ToolResult for each of its calls; before a
round there may be further Prompts, of what was said meanwhile."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole model call."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = NO_USAGE
    thought: Thought | None = None
