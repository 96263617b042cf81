"""Plans: a turn that looks and changes nothing, and the card with which people have its plan carried out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import CardKind, EventId, Incoming, Message, RoomId, UserId
from roommate.features.feature import Feature
from roommate.operations import Call, Change, OfRoom, Who, changing, operation
from roommate.rooms import plan_card
from roommate.rooms.questions import Decide
from roommate.settings.config import Settings
from roommate.store import Card, Inbox
from roommate.store.inbox import putting
from roommate.store.messages_to_running_turn import named


class Planned(OfRoom):
    task: Annotated[str, Field(min_length=1, max_length=40_000, title="TASK", description="What is to be planned.")]


@dataclass(frozen=True, slots=True)
class Plans:
    settings: Callable[[], Settings]
    inbox: Inbox
    wake: Callable[[RoomId], None]

    @operation("turns.plan", who=Who.ANYONE, audit="plan", chat="plan", cli="turns plan")
    async def plan(self, params: Planned, call: Call) -> Change[str]:
        """Has something planned by a turn that looks and changes nothing, and asks whether to carry it out."""
        settings, room_id = self.settings(), call.its_room  # in chat the message itself is the turn's
        asked_by = UserId(next(iter(settings.operator_ids), settings.bot))
        said = Message(f"!plan {params.task}", mentions=(UserId(settings.bot),))
        row = Incoming(named(secrets.token_hex(12)), room_id, asked_by, int(time.time() * 1000), said)

        async def wake() -> None:
            self.wake(room_id)

        return changing([putting(row)], "It is planned in the room.", after=wake)

    def deciding(self) -> Decide:
        """What the host chooses: done as if it had been said in the room."""

        async def decide(card: Card, choice: str, by: UserId) -> str:
            if text := plan_card.prompt(card, choice):
                said = Message(text, EventId(card.thread) if card.thread else None, None, (self.settings().bot,))
                who, name = card.asker or by, named(f"card-{card.id}")
                await self.inbox.do(putting(Incoming(name, card.room_id, who, int(time.time() * 1000), said)))
                self.wake(card.room_id)
            return ""

        return decide


def feature(settings: Callable[[], Settings], inbox: Inbox, wake: Callable[[RoomId], None]) -> Feature:
    plans = Plans(settings, inbox, wake)
    return Feature([plans], cards={CardKind.PLAN: plans.deciding()}, prompts={CardKind.PLAN: plan_card.prompt})
