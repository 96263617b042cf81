"""What a command and a reaction to a card do in a room."""

from __future__ import annotations

import logging
from typing import Protocol

from roommate.chat import texts
from roommate.chat.commands import Command
from roommate.domain import DAEMON, CardKind, Deed, DeedOutcome, Draft, EventId, RoomId, UserId
from roommate.doors.chat import ChatDoor, obey
from roommate.errors import RoommateError, StateError
from roommate.house import House
from roommate.operations import Who
from roommate.store import Card, Decided, Waiting

log = logging.getLogger(__name__)

EXPIRED = "expired"
ONLY_OPERATORS = (
    "Only an operator can let this room connect to a host from now on; ✅ allows it for ten minutes. "
    "(`EGRESS_FOREVER` says who can.)"
)


class InRoom(Protocol):
    """The room that something is said in."""

    room_id: RoomId

    def say(self, markdown: str, thread: EventId | None = None) -> Draft: ...


class Orders:
    def __init__(self, room: InRoom, house: House) -> None:
        self._room = room
        self._house = house
        self.carrying_out: set[int] = set()
        """Cards whose decision is being carried out: no turn begins meanwhile."""

    async def obey(self, waiting: Waiting, command: Command, thread: EventId | None) -> None:
        """Do a command and answer it, together with its inbox row."""
        house = self._house
        door = ChatDoor(waiting, thread, house.inbox, house.questions, self._room.say)
        may = Who.OPERATORS if house.settings.is_operator(waiting.incoming.sender) else Who.ANYONE
        await obey(house.operations, may, door, waiting, command, thread)
        house.progress.wake()

    async def decide(self, waiting: Waiting, target: EventId, key: str) -> None:
        """A reaction: to an open card, by somebody who may, it decides; any other means nothing."""
        house, sender, choice = self._house, waiting.incoming.sender, key.replace("\ufe0f", "")
        card = await house.cards.open(self._room.room_id, target)
        if card is None or choice not in card.choices:
            await house.inbox.done(waiting.seq)
            return
        if (refusal := self._refusal(card, choice, sender)) is not None:
            deed = self._deed(waiting, f"card.{card.what}", DeedOutcome.REFUSED, card.subject, choice)
            said = [self._room.say(refusal, card.thread)] if refusal else []
            await house.inbox.done(waiting.seq, said, [deed])
            house.progress.wake()
            return
        deed = self._deed(waiting, f"card.{card.what}", DeedOutcome.DONE, card.subject, choice)
        await self.choose(card, choice, sender, deed, waiting.seq)

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed, seq: int | None = None) -> str | None:
        """Do what a choice means, and say it in the room; None when somebody else was faster. `seq` is the inbox row
        that brought it, if any."""
        decided = Decided(card, EXPIRED if card.expired else choice, by, seq)
        return await self._carry_out(decided) if await self._house.cards.decide(decided, deed) else None

    async def go_on(self) -> None:
        """Carry out what was decided when a crash came."""
        for decided in await self._house.cards.pending(self._room.room_id):
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
        house, card = self._house, decided.card
        self.carrying_out.add(card.id)
        try:
            text = await self._meant(decided)
        except StateError:
            raise
        except Exception as error:
            known = isinstance(error, RoommateError)
            if not known:
                log.exception("what was chosen at card %d was not done", card.id)
            said = self._room.say(f"⚠️ {error}" if known else texts.broken(f"card {card.id}"), card.thread)
            deed = Deed(
                decided.by, DAEMON, f"card.{card.what}", DeedOutcome.FAILED, card.room_id, card.subject, str(error)
            )
            await house.cards.failed(decided, said, deed)
            raise
        else:
            await house.cards.carried_out(decided, self._room.say(text, card.thread) if text else None)
            house.questions.chosen(card, decided.choice)
            return text
        finally:
            self.carrying_out.discard(card.id)
            house.progress.wake()

    async def _meant(self, decided: Decided) -> str:
        card = decided.card
        if decided.choice == EXPIRED:
            return "That question has expired: nothing was done."
        if card.what not in set(CardKind):  # of a later release, which was rolled back
            return f"What a question of the kind `{card.what}` means I do not know, so nothing was done."
        return await self._house.questions.deciders[CardKind(card.what)](card, decided.choice, decided.by) or ""

    def _deed(self, waiting: Waiting, what: str, outcome: DeedOutcome, subject: str, detail: str = "") -> Deed:
        """What the audit log says of what this message or reaction led to."""
        incoming = waiting.incoming
        return Deed(incoming.sender, incoming.event_id, what, outcome, self._room.room_id, subject, detail)

    def _refusal(self, card: Card, choice: str, who: UserId) -> str | None:
        """Why this choice of theirs does not count, empty where nobody is told; None where it does."""
        settings = self._house.settings
        if not (settings.is_operator(who) if card.operators_only else settings.is_allowed(who)):
            return ""
        for_good = card.what == CardKind.EGRESS and choice == texts.ALWAYS
        if for_good and settings.egress_forever != "people" and not settings.is_operator(who):
            return ONLY_OPERATORS
        return None
