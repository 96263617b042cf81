"""What is said to a turn while it runs: its lines, which are rows, and what tells it that there are some."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from roommate.domain import EventId, Incoming, Prompt, UserId
from roommate.errors import StateError
from roommate.rooms.prompt_context import with_files
from roommate.store import Turn, Turns

log = logging.getLogger(__name__)

T = TypeVar("T")

STATE_RETRY_SECONDS = 5


class Breath:
    """What somebody writes without a pause longer than some seconds, by the homeserver's clock."""

    def __init__(self, first: Incoming | None, seconds: float) -> None:
        self.who = first.sender if first else UserId("")
        self.seconds = seconds
        self._at = first.sent_at if first else 0

    def goes_on_with(self, more: Incoming) -> bool:
        """Does it? Then it goes on from there."""
        if not self.seconds or more.sender != self.who or abs(more.sent_at - self._at) > 1000 * self.seconds:
            return False
        self._at = more.sent_at
        return True


SILENCE = Breath(None, 0)


class TurnLines:
    """Implements agent.turn.Lines."""

    def __init__(
        self,
        turns: Turns,
        turn: Turn,
        breath: Breath,
        marks_off: Callable[[], None],
        seeing: Callable[[Sequence[Prompt]], Awaitable[Sequence[Prompt]]],
        *,
        resumed: bool,
    ) -> None:
        """What belongs to the prompt came in the same `breath`; `marks_off` is called when lines wait no longer, for
        people to see that; `seeing` gives prompts with the pictures that came with them."""
        self._seeing = seeing
        self._marks_off = marks_off
        self.breath = breath
        self.waiting = resumed
        self._turns, self._turn = turns, turn
        self._joined = asyncio.Event()

    def tell(self) -> None:
        """There are lines, or files that came without a word."""
        self.waiting = True

    def join(self) -> None:
        """There is one that belongs to the prompt: the model is asked anew, where it has said nothing yet."""
        self.waiting = True
        self._joined.set()

    async def take(self) -> Sequence[Prompt]:
        self.waiting = False
        self._joined.clear()
        lines = await stored(lambda: self._turns.take_lines(self._turn, with_files))
        if lines:
            self._marks_off()
        return await self._seeing([line.prompt for line in lines])

    async def joined(self) -> None:
        await self._joined.wait()

    async def events(self) -> Sequence[EventId]:
        """What said all that the turn has taken in."""
        return await stored(lambda: self._turns.lines_taken(self._turn))


async def stored(write: Callable[[], Awaitable[T]]) -> T:
    """Store what must not be lost, as soon as the disk takes it."""
    while True:
        try:
            return await write()
        except StateError as error:
            log.error("%s; trying again", error)
            await asyncio.sleep(STATE_RETRY_SECONDS)
