"""A tool as one object: what the model reads about it, how its arguments are read, and what it does."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from roommate.domain import (
    Attachment,
    Clock,
    Emit,
    Hand,
    Job,
    JsonObject,
    ToolSpec,
)
from roommate.tools.arguments import Arguments, schema, validated
from roommate.tools.outcome import Outcome

Asked = TypeVar("Asked")
A = TypeVar("A", bound=Arguments)


class Jobs(Protocol):
    """Background jobs whose end the conversation is told."""

    async def watch(self, job: Job) -> None: ...

    async def known(self, job_id: str) -> None:
        """The model knows that it has ended: it need not be told."""
        ...


class Share(Protocol):
    """Shows files to the people of a room, where the turn's own messages are."""

    async def largest(self) -> int:
        """How many bytes a file may have."""
        ...

    async def show(self, call_id: str, file: Attachment) -> None:
        """Once for a tool call, whatever crashes: when this returns, it will arrive. Raises ToolError."""
        ...


@dataclass(frozen=True, slots=True)
class TurnPorts:
    """What the daemon gives to the tools of one turn; None where there is no such thing."""

    command_timeout: float
    """Seconds that a command runs where the model does not say."""
    longest_timeout: float
    """The most that it may ask for."""
    keep: int = 16384
    """Bytes of output that the model gets."""
    share: Share | None = None
    jobs: Jobs | None = None
    sees: Callable[[], bool] = lambda: False
    """The model takes pictures."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of commands, besides the room's."""
    clock: Clock | None = None
    """Of its commands."""
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By `Tool.turns`: those of the room, whose turns share them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that runs. `emit` shows people what it does meanwhile."""

    id: str
    emit: Emit
    ports: TurnPorts
    room: Hand | None = None

    @property
    def hand(self) -> Hand:
        """Of the room, for a tool that needs its sandbox."""
        assert self.room is not None, "this tool says that it needs no sandbox"
        return self.room


@dataclass(frozen=True, slots=True)
class Tool(Generic[Asked]):
    """`parse` reads the arguments, a JSON object, and `do` does it; what either raises is told to the model."""

    described: Callable[[], ToolSpec]
    """What the model reads about it; made when somebody reads it first."""
    parse: Callable[[JsonObject], Asked]
    do: Callable[[Asked, Call], Awaitable[Outcome]]
    title: tuple[str, ...] = ()
    """Arguments of which the live message shows the first that is given."""
    sandbox: bool = True
    """The room's container has to be up for it."""
    turns: str = ""
    """Calls of tools with the same word here come after each other, in the whole room."""
    again: bool = False
    """A call that a restart interrupted is made again, and goes on with what it has begun."""
    looks: bool = False
    """It changes nothing in the room, and runs nothing there that was not Roommate's own."""

    @property
    def spec(self) -> ToolSpec:
        return self.described()


Source = Sequence[Tool[Any]] | Callable[[TurnPorts], Sequence[Tool[Any]]]
"""Tools, or what gives those that a turn has: some are there only where something else is, others come and go."""


def tool(
    name: str,
    kind: type[A],
    do: Callable[[A, Call], Awaitable[Outcome]],
    *,
    title: tuple[str, ...] = (),
    sandbox: bool = True,
    turns: str = "",
    again: bool = False,
    looks: bool = False,
) -> Tool[A]:
    """One whose arguments are a class, and whose description is that one's docstring."""
    described = functools.partial(_spec, name, kind)
    return Tool(described, lambda given: validated(described(), kind, given), do, title, sandbox, turns, again, looks)


@functools.cache  # some tools are made anew for every call
def _spec(name: str, kind: type[Arguments]) -> ToolSpec:
    return ToolSpec(name, (kind.__doc__ or "").strip(), schema(kind))
