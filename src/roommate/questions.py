"""Questions to the people of a room: put up as cards, chosen with a reaction, remembered over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from roommate.control_room import ControlRoom
from roommate.matrix import render
from roommate.ports import Progress
from roommate.store import Card, Cards
from roommate.words import CARD, Draft, EventId, Question, Rank, RoomId, UserId

Decide = Callable[[Card, str, UserId], Awaitable[str | None]]
"""Does what a choice means, given its key and who chose; gives what to say of it, None for nothing. A crash may have it
done twice."""


class Questions:
    """Calling it is ports.Ask. `deciders` deals with the choices of each kind of question, also when nobody waits."""

    def __init__(self, cards: Cards, progress: Progress, control: ControlRoom, deciders: Mapping[str, Decide]) -> None:
        self._cards = cards
        self._control = control
        self._progress = progress
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self.deciders = dict(deciders)

    async def __call__(self, room_id: RoomId, question: Question) -> str:
        card = await self.put_up(room_id, question)
        choice = self._waiting.setdefault(card, asyncio.get_running_loop().create_future())
        return await asyncio.shield(choice)

    async def put_up(self, room_id: RoomId, question: Question) -> int:
        """Ask, and wait for nothing: the choice goes to its decider. Gives the card's id."""
        card = await self._cards.put(question, _draft(room_id, question))
        self._progress.wake()
        await self._tell_operators(card, room_id, question)
        return card

    async def answer_with(self, seq: int, room_id: RoomId, question: Question, thread: EventId | None) -> None:
        """Answer an inbox row with a card; nobody waits for the choice but its decider."""
        card = await self._cards.put(question, _draft(room_id, question, thread), seq, thread)
        self._progress.wake()
        await self._tell_operators(card, room_id, question)

    async def _tell_operators(self, card: int, room_id: RoomId, question: Question) -> None:
        if question.operators_only and room_id != self._control.room_id:
            where = f"[a room](https://matrix.to/#/{quote(room_id)})"
            await self._control.tell(f"A question for operators in {where}:\n\n{question.text}", once=f"asked:{card}")

    def chosen(self, card: Card, choice: str) -> None:
        """Tell who waits."""
        if (waiting := self._waiting.pop(card.id, None)) and not waiting.done():
            waiting.set_result(choice)


def _draft(room_id: RoomId, question: Question, thread: EventId | None = None) -> Draft:
    content = render.content(question.text, notice=True, thread=thread)
    content[CARD] = {"what": question.what, "choices": list(question.choices)}
    return Draft(room_id, content, Rank.CARD)
