"""What a peer's request can be about: each method reads its parameters and does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from roommate.domain import JsonObject, RoomId
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.policy_decision import Facts

MOST_INPUT = 1 << 20
"""Bytes of input that wait to be taken. Whoever sends more before that is cut off."""


class Shape(BaseModel):
    """Parameters of a method: what is not named in it is a mistake."""

    # Built when it is used first, as those of operations are.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


P = TypeVar("P", bound=Shape)
Any_P = TypeVar("Any_P", bound=Shape, contravariant=True)


class Inputs:
    """What the asker sends besides, in order, until its end."""

    def __init__(self) -> None:
        self._bodies: list[tuple[JsonObject, int]] = []
        self._bytes = 0
        self._more = asyncio.Event()

    def put(self, body: JsonObject, size: int) -> bool:
        """False where too much waits."""
        if self._bytes + size > MOST_INPUT:
            return False
        self._bodies.append((body, size))
        self._bytes += size
        self._more.set()
        return True

    async def get(self) -> JsonObject:
        while not self._bodies:
            self._more.clear()
            await self._more.wait()
        body, size = self._bodies.pop(0)
        self._bytes -= size
        return body


Stream = Literal["out", "err", "pty", "file"]


async def _nothing_more(*_: object) -> None:
    """Of a request that is answered at once."""


async def _no_file(content: bytes, name: str) -> JsonObject:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Work:
    """A request that runs, as its method sees it."""

    request: Request
    facts: Facts
    """What the policy has judged: nothing else is run, read or written."""
    seconds: int
    """The most that it may take."""
    output_bytes: int
    """The most that it may give."""
    start: Callable[[], Awaitable[None]] = _nothing_more
    """Says that it runs, unless that was said: an event that nobody needs where its end is the next one."""
    say: Callable[[JsonObject], Awaitable[int | None]] = _nothing_more
    """A piece of the reply; gives its row of the outbox."""
    say_at_end: Callable[[JsonObject], None] = lambda _: None
    """The same for what is said right before the last body, with which it is stored."""
    arrived: Callable[[int], Awaitable[object]] = _nothing_more
    """Waits until that row is sent."""
    upload: Callable[[bytes, str], Awaitable[JsonObject]] = _no_file
    """A file for the room; gives where it is, as the body of a reply names it."""
    tail: Callable[[bytes], None] = lambda _: None
    """What people see of the newest output."""
    inputs: Inputs = field(default_factory=Inputs)
    folder: Path | None = None
    """Where output waits that is too much for memory."""
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while output is uploaded, a part of which is in memory then: few requests do so at a time."""

    @property
    def room_id(self) -> RoomId:
        return RoomId(self.request.room_id)


class Does(Protocol[Any_P]):
    async def __call__(self, params: Any_P, work: Work) -> JsonObject: ...


@dataclass(frozen=True, slots=True)
class Method(Generic[P]):
    """`do` gives the fields of the result; what it raises as RoommateError is told as a failure."""

    name: str
    params: type[P]
    do: Does[P]
    shown: bool = True
    """Do people see it in the room?"""
    instant: bool = False
    """It is answered at once, and nothing that it does could be done twice."""


Methods = Mapping[str, Method[Any]]
