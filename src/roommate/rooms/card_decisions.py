"""What is chosen at a card: by whom it counts, decided once, carried out, and said in the room."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from roommate.chat import texts
from roommate.domain import DAEMON, CardKind, Deed, DeedOutcome, EventId, RoomId, UserId
from roommate.errors import RoommateError, StateError
from roommate.rooms.inbox_replies import Replies, notice
from roommate.rooms.questions import Decide, Questions
from roommate.settings.config import Settings
from roommate.store import Card, Cards, Decided, Waiting

log = logging.getLogger(__name__)

EXPIRED = "expired"
ONLY_OPERATORS = (
    "Only an operator can let this room connect to a host from now on; ✅ allows it for ten minutes. "
    "(`EGRESS_FOREVER` says who can.)"
)


@dataclass(frozen=True, slots=True)
class CardDecisions:
    """In all rooms. `deciders` deal with what is chosen at each kind of card."""

    cards: Cards
    questions: Questions
    replies: Replies
    deciders: Mapping[CardKind, Decide]
    settings: Callable[[], Settings]
    carrying_out: dict[int, RoomId] = field(default_factory=dict)
    """Cards whose decision is being carried out."""

    def hold(self, room_id: RoomId) -> bool:
        """Is one being carried out there? No turn begins meanwhile."""
        return room_id in self.carrying_out.values()

    async def react(self, waiting: Waiting, target: EventId, key: str) -> None:
        """A reaction: to an open card, by somebody who may, it decides; any other means nothing."""
        incoming, choice = waiting.incoming, key.replace("\ufe0f", "")
        card = await self.cards.open(incoming.room_id, target)
        if card is None or choice not in card.choices:
            await self.replies.done(waiting.seq)
            return
        refusal = self._refusal(card, choice, incoming.sender)
        deed = Deed(
            incoming.sender,
            incoming.event_id,
            f"card.{card.what}",
            DeedOutcome.DONE if refusal is None else DeedOutcome.REFUSED,
            incoming.room_id,
            card.subject,
            choice,
        )
        if refusal is None:
            await self.choose(card, choice, incoming.sender, deed, waiting.seq)
        else:
            said = [notice(incoming.room_id, refusal, card.thread)] if refusal else []
            await self.replies.done(waiting.seq, *said, deeds=[deed])

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
            await self.cards.carried_out(decided, notice(card.room_id, text, card.thread) if text else None)
            self.questions.chosen(card, decided.choice)
            return text
        finally:
            del self.carrying_out[card.id]
            self.replies.wake()

    async def _meant(self, decided: Decided) -> str:
        card = decided.card
        if decided.choice == EXPIRED:
            return "That question has expired: nothing was done."
        if card.what not in set(CardKind):  # of a later release, which was rolled back
            return f"What a question of the kind `{card.what}` means I do not know, so nothing was done."
        return await self.deciders[CardKind(card.what)](card, decided.choice, decided.by) or ""

    def _refusal(self, card: Card, choice: str, who: UserId) -> str | None:
        """Why this choice of theirs does not count, empty where nobody is told; None where it does."""
        settings = self.settings()
        if not (settings.is_operator(who) if card.operators_only else settings.is_allowed(who)):
            return ""
        for_good = card.what == CardKind.EGRESS and choice == texts.ALWAYS
        if for_good and settings.egress_forever != "people" and not settings.is_operator(who):
            return ONLY_OPERATORS
        return None
