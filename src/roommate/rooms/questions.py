"""Questions to the people of a room: put up as cards, chosen with a reaction, remembered over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from urllib.parse import quote

from roommate.chat import texts
from roommate.chat.card_answers import spelled
from roommate.chat.texts import AGAIN
from roommate.domain import CardKind, Deed, Draft, EventId, Question, Rank, RoomId, UserId
from roommate.errors import StateError
from roommate.host import deadlines
from roommate.matrix import render
from roommate.rooms.card_look import EXPIRED, UNNEEDED, closed_look, ended, open_look
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.live_message_port import Progress
from roommate.rooms.turns_awaiting_people import WaitingTurn, WaitingTurns
from roommate.store import Card, Cards, Outbox, Turn, Work
from roommate.store.cards import Answer

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
OFFER_SECONDS = 3600.0

Decide = Callable[[Card, str, UserId], Awaitable[str | None]]
"""Does what a choice means, given its key, or the text of an answer, and who chose; gives what its message says of it
from then on behind who chose what, such as ``until 13:20 UTC``; None where the decider itself shows it there.

The choice is stored before, and a crash in between has it done again at the start, before anything else happens in the
room: to do it twice must be the same as once."""


class Questions:
    """Calling it is `Ask`."""

    def __init__(
        self,
        cards: Cards,
        outbox: Outbox,
        progress: Progress,
        control: ControlRoom,
        turns: WaitingTurns,
        operators: Callable[[], Sequence[str]],
    ) -> None:
        self._cards, self._outbox = cards, outbox
        self._control = control
        self._progress = progress
        self._turns = turns
        self._operators = operators
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._more = asyncio.Event()

    async def __call__(self, room_id: RoomId, question: Question, seconds: float) -> str | None:
        asking = self._turns.find(room_id, question.turn)
        thread = asking.turn.thread if asking else None
        if asking:
            question = replace(question, turn=asking.turn.id, asker=asking.turn.asked_by)
        card = await self.put_up(room_id, question, thread=thread)
        if asking:
            asking.begin(card, question.about)
        try:
            async with deadlines.within(seconds):
                if asking:
                    await self._show_link(room_id, card, asking)
                return await self._chosen(card)
        except TimeoutError:
            return None
        finally:
            if asking:
                asking.end(card)

    async def answer(self, card: int, about: str, seconds: float) -> Answer | None:
        """Wait so long for what is answered to a card that a turn waits for, as people see: it is `about` that. None
        where nothing was answered; then, once and for all, no turn waits for it any more."""
        found = await self._cards.of(card)
        asking = self._turns.of(found.turn) if found else None
        if found and asking:
            asking.begin(card, about, tell=False)
        try:
            async with deadlines.within(seconds):
                waiting = asyncio.ensure_future(self._chosen(card))
                try:
                    if (answer := await self._cards.answer(card)) is None:
                        if found and asking:
                            await self._show_link(found.room_id, card, asking)
                        await waiting
                finally:
                    waiting.cancel()
        except TimeoutError:
            pass
        finally:
            if asking:
                asking.end(card)
        answer = await self._cards.give_up(card)
        return None if answer is None or answer.choice in (EXPIRED, UNNEEDED) else answer

    async def _chosen(self, card: int) -> str:
        choice = self._waiting.setdefault(card, asyncio.get_running_loop().create_future())
        return await asyncio.shield(choice)

    async def unneeded(self, room_id: RoomId, what: str, subjects: Collection[str]) -> None:
        """See `Ask`."""
        for card in await self._cards.undecided():
            if (card.room_id, card.what) == (room_id, what) and card.subject in subjects:
                await self.end(card)

    def wait_for(self, card: int, question: Question) -> None:
        """The turn of this question waits, from now until the card is over: what asks is a program that does."""
        if asking := self._turns.of(question.turn):
            asking.begin(card, question.about)

    async def turn_over(self, turn: Turn, stopped: bool) -> None:
        """What asked in it has ended with it; where people have `stopped` it, they need not answer the rest either."""
        kinds = {CardKind.HOOK, CardKind.EGRESS, CardKind.PERSON} if stopped else {CardKind.HOOK}
        for card in await self._cards.unanswered(turn.room_id, turn.id, kinds):
            await self.end(card)

    async def offer(self, card: Card, by: UserId) -> None:
        """An answer came when its turn had ended without it: that one can be taken up again."""
        question = Question(
            CardKind.GO_ON,
            f"The task has ended without `{card.subject}`.",
            subject=f"{card.turn} {card.subject}",
            hint=f"{AGAIN} takes it up again.",
            choices=(AGAIN,),
            seconds=OFFER_SECONDS,
            asker=by,
            turn=card.turn,
            quiet=True,
        )
        await self.put_up(card.room_id, question, thread=card.thread)

    def runs(self, card: Card) -> bool:
        """Does the turn that wanted to know?"""
        return self._turns.of(card.turn) is not None

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
        draft, told = self._draft(room_id, question, thread), self._told(room_id, question)
        card = await self._cards.put(question, draft, thread=thread, told=told, deeds=deeds, along=along)
        self._wake()
        return card

    def putting(self, room_id: RoomId, question: Question, thread: EventId | None) -> Work[int]:
        """As `put_up`, in somebody's transaction; `wake` is to be called then."""
        draft, told = self._draft(room_id, question, thread), self._told(room_id, question)
        return self._cards.putting(question, draft, thread=thread, told=told)

    def wake(self) -> None:
        """There is a new card."""
        self._wake()

    async def answer_with(
        self, seq: int, room_id: RoomId, question: Question, thread: EventId | None, deeds: Sequence[Deed] = ()
    ) -> None:
        """Answer an inbox row with a card; nobody waits for the choice but its decider."""

        def instead(event: EventId | None) -> Draft:
            text = f"That is asked already: {link(room_id, event) if event else 'the question'} is open."
            return Draft(room_id, render.content(text, notice=True, thread=thread))

        draft, told = self._draft(room_id, question, thread), self._told(room_id, question)
        await self._cards.put(question, draft, seq, thread, told=told, deeds=deeds, instead=instead)
        self._wake()

    async def end(self, card: Card, verdict: str = UNNEEDED) -> None:
        """Nobody has to answer it any more."""
        if await self._cards.close(card, verdict, closing(card, verdict)):
            self.chosen(card, verdict)
            self._progress.wake()

    async def run(self) -> None:
        """End the cards that expire, for ever."""
        while True:
            self._more.clear()
            try:
                due, nearest = await self._cards.due()
                for card in due:
                    await self.end(card, EXPIRED)
            except StateError as error:
                log.error("%s", error)
                nearest = time.time() + RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with deadlines.within(None if nearest is None else max(0.0, nearest - time.time())):
                    await self._more.wait()

    def chosen(self, card: Card, choice: str, by: str = "") -> None:
        """Tell who waits. `by`: what people call who has chosen."""
        self._turns.ended(card.id, outcome(choice, by))
        if (waiting := self._waiting.pop(card.id, None)) and not waiting.done():
            waiting.set_result(choice)

    async def _show_link(self, room_id: RoomId, card: int, asking: WaitingTurn) -> None:
        """Where the card is, when it is there."""
        if (found := await self._cards.of(card)) and (event := await self._outbox.arrived(found.message)):
            asking.link(card, f"https://matrix.to/#/{quote(room_id)}/{quote(event)}")

    def _wake(self) -> None:
        self._more.set()
        self._progress.wake()

    def _draft(self, room_id: RoomId, question: Question, thread: EventId | None) -> Draft:
        # What asks all rings for those who look after it.
        one = None if question.operators_only else question.asker
        called = [one] if one else self._operators()
        content = open_look(question, () if question.quiet else [UserId(who) for who in called], thread)
        return Draft(room_id, content, Rank.CARD)

    def _told(self, room_id: RoomId, question: Question) -> Sequence[Draft]:
        """What operators read elsewhere."""
        if not question.operators_only or room_id == self._control.room_id:
            return ()
        where = f"[a room](https://matrix.to/#/{quote(room_id)})"
        return self._control.drafts(f"A question for operators in {where}:\n\n{question.text}", quietly=False)


def outcome(choice: str, by: str) -> str:
    """For a model: how a question ended."""
    who = by or "somebody"
    return {
        texts.YES: f"{who} allowed it",
        texts.ALWAYS: f"{who} allowed it from now on",
        texts.NO: f"{who} refused it",
        EXPIRED: "nobody answered in time",
        UNNEEDED: "it is not needed any more",
    }.get(choice, f"{who} answered: {choice}")


def closing(card: Card, verdict: str, by: str = "", said: str = "") -> Draft | None:
    """What its message becomes; None for one that an earlier release has put up, whose question is not known."""
    over = ended(spelled(verdict, card.text), by, said)
    return Draft(card.room_id, closed_look(card, over), edits=card.message) if card.text else None


def link(room_id: RoomId, event: EventId, words: str = "the question") -> str:
    return f"[{words}](https://matrix.to/#/{quote(room_id)}/{quote(event)})"
