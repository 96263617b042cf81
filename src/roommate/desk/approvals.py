"""The questions that wait for a person, in all rooms; decided here as a reaction decides them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.errors import NotFound
from roommate.house import House
from roommate.store import Card
from roommate.words import Deed, RoomId, UserId


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


async def approvals(house: House) -> Sequence[Approval]:
    """Oldest first."""
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
        for card in await house.cards.undecided()
    ]


async def open_card(house: House, number: int) -> Card:
    """Raises NotFound."""
    for card in await house.cards.undecided():
        if card.id == number:
            return card
    raise NotFound(f"there is no open question {number}: `roommate approvals ls` shows those that are")


async def decide(house: House, card: Card, choice: str, by: str, deed: Deed) -> str:
    """Decide it with one of its choices; gives what is said of it in the room, too. Raises NotFound."""
    if choice not in card.choices:
        raise NotFound(f"question {card.id} cannot be answered with {choice}, but with {' '.join(card.choices)}")
    said = await house.room(card.room_id).choose(card, choice, UserId(by), deed)
    if said is None:
        raise NotFound(f"question {card.id} was decided by somebody else in the meantime")
    return said
