"""What is chosen at a card: by whom it counts, decided once, carried out, and said in the room."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from roommate.chat import card_answers, commands, texts
from roommate.domain import DAEMON, CardKind, Deed, DeedOutcome, EventId, Message, RoomId, UserId
from roommate.errors import RoommateError, StateError
from roommate.rooms.bot_answers import Replies, notice
from roommate.rooms.card_look import EXPIRED, ended
from roommate.rooms.questions import Decide, Questions, closing
from roommate.settings.config import Settings
from roommate.store import Card, Cards, Decided, Waiting

log = logging.getLogger(__name__)

ALLOWS = (texts.YES, texts.ALWAYS)
ONLY_OPERATORS = (
    "Only an operator can let this room connect to a host from now on; ✅ allows it for ten minutes. "
    "(`EGRESS_FOREVER` says who can.)"
)


Becomes = Callable[[Card, str], str | None]
"""What a model is told, given what was answered: a prompt, or a command that is one; None where it is told nothing."""


@dataclass(frozen=True, slots=True)
class CardDecisions:
    """In all rooms. `deciders` deal with what is chosen at each kind of card, but for those whose answers are
    `prompts`."""

    cards: Cards
    questions: Questions
    replies: Replies
    deciders: Mapping[CardKind, Decide]
    prompts: Mapping[str, Becomes]
    settings: Callable[[], Settings]
    name: Callable[[RoomId, str], Awaitable[str]]
    """What people call somebody in a room, as Markdown."""
    daemons: Callable[[], Awaitable[Collection[UserId]]]
    """The accounts of other daemons that are trusted: they are none of the people who are asked about what one of them
    wants."""
    carrying_out: dict[int, RoomId] = field(default_factory=dict)
    """Cards whose decision is being carried out."""

    def hold(self, room_id: RoomId) -> bool:
        """Is one being carried out there? No turn begins meanwhile."""
        return room_id in self.carrying_out.values()

    async def react(self, waiting: Waiting, target: EventId, key: str) -> None:
        """A reaction: to an open card, by somebody who may, it decides; any other means nothing."""
        card = await self.cards.open(waiting.incoming.room_id, target)
        choice = card_answers.choice_of(key, card.choices) if card else None
        if card is None or choice is None:
            await self.replies.done(waiting.seq)
        else:
            await self._answer(waiting, card, choice)

    async def answered(self, waiting: Waiting, message: Message, text: str, *, addressed: bool) -> bool:
        """A message that answers a card is dealt with here: a reply to one, or all that somebody writes below one that
        is open in that conversation. False for any other. `text` is what it says to the bot, and `addressed`: it is for
        the bot, whatever it says."""
        incoming, said = waiting.incoming, text.strip()
        if not said or message.file is not None or commands.parse(said):
            return False
        if message.reply_to is not None:
            replied = await self.cards.open(incoming.room_id, message.reply_to)
            seen = [replied] if replied else []
        elif message.late:  # it may have been said before any of them
            return False
        else:
            seen = list(await self.cards.open_before(incoming.room_id, message.thread, waiting.seq))
        fitting = [card for card in seen if _meant(card, said) and await self._may(card, incoming.sender)]
        if message.reply_to is None:  # what is said behind a plan may be about anything
            fitting = [
                card for card in fitting if card.what != CardKind.PLAN or card_answers.choice_of(said, card.choices)
            ]
        if not addressed:  # people say yes to each other
            fitting = [card for card in fitting if not card.takes_text and await self._is_to(card, waiting)]
        if len(fitting) == 1:
            await self._answer(waiting, fitting[0], _meant(fitting[0], said) or said)
            return True
        if fitting and card_answers.is_choice(said):
            many = f"{len(fitting)} questions are open here: reply to the one that you mean, or tap below it."
            await self.replies.done(waiting.seq, notice(incoming.room_id, many, message.thread))
            return True
        return False

    async def _answer(self, waiting: Waiting, card: Card, choice: str) -> None:
        """Somebody has answered it."""
        incoming = waiting.incoming
        refusal = await self._refusal(card, choice, incoming.sender)
        deed = Deed(
            incoming.sender,
            incoming.event_id,
            f"card.{card.what}",
            DeedOutcome.DONE if refusal is None else DeedOutcome.REFUSED,
            incoming.room_id,
            card.subject,
            choice,
        )
        if refusal is not None:
            said = [notice(incoming.room_id, refusal, card.thread)] if refusal else []
            await self.replies.done(waiting.seq, *said, deeds=[deed])
        elif (becomes := self.prompts.get(card.what)) and not card.expired:
            decided = Decided(card, choice, incoming.sender, waiting.seq)
            text = becomes(card, choice)
            prompt = Message(text, card.thread, mentions=(UserId(self.settings().bot),)) if text else None
            line = card.what == CardKind.PERSON
            by = await self.name(card.room_id, incoming.sender)
            if await self.cards.prompt(decided, deed, prompt, closing(card, choice, by), line=line):
                self.questions.chosen(card, choice, by)
            else:
                await self.replies.done(waiting.seq)
            self.replies.wake()
        else:
            await self.choose(card, choice, incoming.sender, deed, waiting.seq)

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed, seq: int | None = None) -> str | None:
        """Do what a choice means, and say it in the room; None when somebody else was faster. `seq` is the inbox row
        that brought it, if any."""
        decided = Decided(card, EXPIRED if card.expired else choice, by, seq)
        return await self._carry_out(decided) if await self.cards.decide(decided, deed) else None

    async def go_on(self, room_id: RoomId) -> None:
        """Carry out what was decided when a crash came."""
        for decided in await self.cards.pending(room_id):
            if decided.card.id in self.carrying_out:  # chosen from the host, while the room sat out a full disk
                continue
            try:
                await self._carry_out(decided)
            except StateError:
                raise
            except Exception as error:  # people were told
                log.warning("%s", error)

    async def _carry_out(self, decided: Decided) -> str:
        """Do what was chosen, and say it; the card is open again when it cannot be done. Raises RoommateError then."""
        card = decided.card
        self.carrying_out[card.id] = card.room_id
        try:
            text = await self._meant(decided)
        except StateError:
            raise
        except Exception as error:
            known = isinstance(error, RoommateError)
            if not known:
                log.exception("what was chosen at card %d was not done", card.id)
            said = notice(card.room_id, f"⚠️ {error}" if known else texts.broken(f"card {card.id}"), card.thread)
            deed = Deed(
                decided.by, DAEMON, f"card.{card.what}", DeedOutcome.FAILED, card.room_id, card.subject, str(error)
            )
            await self.cards.failed(decided, said, deed)
            raise
        else:
            by = await self.name(card.room_id, decided.by)
            shown = closing(card, decided.choice, by, text) if text is not None else None
            older = notice(card.room_id, ended(decided.choice, by, text or ""), card.thread) if not card.text else None
            late = card.what == CardKind.EGRESS and card.turn is not None and not self.questions.runs(card)
            if late and decided.choice in ALLOWS:
                await self.questions.offer(card, decided.by)
            await self.cards.carried_out(decided, [draft for draft in (shown or older,) if draft])
            self.questions.chosen(card, decided.choice, by)
            return ended(decided.choice, by, text or "")
        finally:
            del self.carrying_out[card.id]
            self.replies.wake()

    async def _meant(self, decided: Decided) -> str | None:
        card = decided.card
        if decided.choice == EXPIRED:
            return ""
        if card.what not in set(CardKind):  # of a later release, which was rolled back
            return f"but what a question of the kind `{card.what}` means I do not know, so nothing was done"
        return await self.deciders[CardKind(card.what)](card, decided.choice, decided.by)

    async def _refusal(self, card: Card, choice: str, who: UserId) -> str | None:
        """Why this choice of theirs does not count, empty where nobody is told; None where it does."""
        settings = self.settings()
        if not await self._may(card, who):
            return ""
        for_good = card.what == CardKind.EGRESS and choice == texts.ALWAYS
        if for_good and settings.egress_forever != "people" and not settings.is_operator(who):
            return ONLY_OPERATORS
        return None

    async def _may(self, card: Card, who: UserId) -> bool:
        if card.what == CardKind.MESH_REQUEST and who in await self.daemons():
            return False
        settings = self.settings()
        return settings.is_operator(who) if card.operators_only else settings.is_allowed(who)

    async def _is_to(self, card: Card, waiting: Waiting) -> bool:
        """Is what somebody says to nobody in particular said to this card? It is where they were asked; and where it
        asks all and was the last that was said."""
        if asked := self._asked(card):
            return waiting.incoming.sender in asked
        return card.what == CardKind.MESH_REQUEST and await self.cards.was_said_last(card, waiting.seq)

    def _asked(self, card: Card) -> Collection[str]:
        """Who is to answer; nobody in particular where all may, though it rings for operators then."""
        return self.settings().operator_ids if card.operators_only else [card.asker] if card.asker else []


def _meant(card: Card, said: str) -> str | None:
    """What somebody answers to it; None where that is no answer."""
    return card_answers.choice_of(said, card.choices) or (said if card.takes_text else None)
