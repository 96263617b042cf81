"""The questions that wait for a person, in all rooms; decided here as a reaction decides them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from roommate.chat import texts
from roommate.domain import RoomId, UserId
from roommate.errors import NotFound
from roommate.operations import Call, Params, Table, form, operation
from roommate.rooms.residents import Resident
from roommate.store import Card, Cards
from roommate.text.amounts import age


class Choice(Params):
    approval: Annotated[int, Field(title="QUESTION", description="A question's number.")]
    choice: Annotated[str, Field(max_length=20)] = texts.YES
    always: Annotated[bool, Field(description="Also all of its kind in that room, from now on.")] = False


@dataclass(frozen=True, slots=True)
class Approval:
    """`seconds` is how long it stays open."""

    id: int
    room_id: RoomId
    what: str
    subject: str
    choices: Sequence[str]
    operators_only: bool
    seconds: float


def _table(found: Sequence[Approval]) -> Table:
    rows = [
        (
            str(one.id),
            one.room_id,
            one.what,
            one.subject,
            " ".join(one.choices),
            age(one.seconds),
            "operators" if one.operators_only else "",
        )
        for one in found
    ]
    return Table(rows, ("question", "room", "what", "about", "choices", "open for", "who"))


@dataclass(frozen=True, slots=True)
class Approvals:
    cards: Cards
    resident: Callable[[RoomId], Resident]

    @operation(
        "approvals.list",
        terminal=_table,
        cli="approvals ls",
    )
    async def list(self, params: Params, call: Call) -> Sequence[Approval]:
        """Shows what is asked and not decided.

        Oldest first.
        """
        return [
            Approval(
                id=card.id,
                room_id=card.room_id,
                what=card.what,
                subject=card.subject,
                choices=card.choices,
                operators_only=card.operators_only,
                seconds=card.expires - time.time(),
            )
            for card in await self.cards.undecided()
        ]

    @operation(
        "approvals.decide",
        cli=(form("approvals approve", choice=texts.YES), form("approvals deny", choice=texts.NO, always=False)),
    )
    async def decide(self, params: Choice, call: Call) -> str:
        """Decides a question, as ✅ or ❌ in the room does, and prints what is said there.

        Gives what is said of it in the room, too. The choice is written down with the card, as a reaction's is.
        """
        card = await self._open(params.approval)
        choice = texts.ALWAYS if params.always else params.choice.replace("\ufe0f", "")
        if choice not in card.choices:
            raise NotFound(f"question {card.id} cannot be answered with {choice}, but with {' '.join(card.choices)}")
        deed = replace(call, room=card.room_id).deed(f"card.{card.what}", subject=card.subject, detail=choice)
        said = await self.resident(card.room_id).choose(card, choice, UserId(call.name), deed)
        if said is None:
            raise NotFound(f"question {card.id} was decided by somebody else in the meantime")
        return said

    async def _open(self, number: int) -> Card:
        for card in await self.cards.undecided():
            if card.id == number:
                return card
        raise NotFound(f"there is no open question {number}: `roommate approvals ls` shows those that are")
