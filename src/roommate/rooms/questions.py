"""Questions to the people of a room: put up as cards, chosen with a reaction, remembered over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from roommate.domain import CARD, Deed, Draft, EventId, Question, Rank, RoomId, UserId
from roommate.errors import StateError
from roommate.matrix import render
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.progress_port import Progress
from roommate.store import Card, Cards, Work

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0

Decide = Callable[[Card, str, UserId], Awaitable[str | None]]
"""Does what a choice means, given its key and who chose; gives what to say of it, None for nothing.

The choice is stored before, and a crash in between has it done again at the start, before anything else happens in the
room: to do it twice must be the same as once."""


class Questions:
    """Calling it is `Ask`."""

    def __init__(self, cards: Cards, progress: Progress, control: ControlRoom) -> None:
        self._cards = cards
        self._control = control
        self._progress = progress
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._more = asyncio.Event()

    async def __call__(self, room_id: RoomId, question: Question) -> str:
        card = await self.put_up(room_id, question)
        choice = self._waiting.setdefault(card, asyncio.get_running_loop().create_future())
        return await asyncio.shield(choice)

    async def put_up(
        self,
        room_id: RoomId,
        question: Question,
        *,
        thread: EventId | None = None,
        deeds: Sequence[Deed] = (),
        along: Work[object] | None = None,
    ) -> int:
        """Ask, and wait for nothing: the choice goes to its decider. Gives the card's id. The `deeds` that it is, and
        what is done `along` with it, are in the transaction that puts it up."""
        draft, told = _draft(room_id, question, thread), self._told(room_id, question)
        card = await self._cards.put(question, draft, thread=thread, told=told, deeds=deeds, along=along)
        self._wake()
        return card

    async def answer_with(
        self, seq: int, room_id: RoomId, question: Question, thread: EventId | None, deeds: Sequence[Deed] = ()
    ) -> None:
        """Answer an inbox row with a card; nobody waits for the choice but its decider."""
        draft, told = _draft(room_id, question, thread), self._told(room_id, question)
        await self._cards.put(question, draft, seq, thread, told=told, deeds=deeds)
        self._wake()

    async def run(self) -> None:
        """Take the choices off the cards that expire, for ever."""
        since = 0.0
        while True:
            self._more.clear()
            now = time.time()
            try:
                nearest, since = await self._cards.expire(since), now
            except StateError as error:
                log.error("%s", error)
                nearest = now + RETRY_SECONDS
            self._progress.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if nearest is None else max(0.0, nearest - time.time())):
                    await self._more.wait()

    def _wake(self) -> None:
        self._more.set()
        self._progress.wake()

    def _told(self, room_id: RoomId, question: Question) -> Sequence[Draft]:
        """What operators read elsewhere."""
        if not question.operators_only or room_id == self._control.room_id:
            return ()
        where = f"[a room](https://matrix.to/#/{quote(room_id)})"
        return self._control.drafts(f"A question for operators in {where}:\n\n{question.text}")

    def chosen(self, card: Card, choice: str) -> None:
        """Tell who waits."""
        if (waiting := self._waiting.pop(card.id, None)) and not waiting.done():
            waiting.set_result(choice)


def _draft(room_id: RoomId, question: Question, thread: EventId | None = None) -> Draft:
    # Clients show what one person says as one piece: a question is seen where it begins.
    content = render.content(f"❓ {question.text}", notice=True, thread=thread, details=question.details)
    content[CARD] = {"what": question.what, "choices": list(question.choices)}
    return Draft(room_id, content, Rank.CARD)
