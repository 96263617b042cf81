"""Which pieces of a peer's reply count: bound to its request, each once, in order, and none left out.

Nothing here knows of Matrix or a database: what came is compared with what was asked.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roommate.domain import JsonObject, RoomId, UserId
from roommate.features.mesh.envelope import REPLY, Forged, Message, next_chain

LAST = frozenset({"result", "refused"})
"""Kinds of the piece after which there is none."""
FARTHEST = 512
"""Pieces that may come before one that is missing."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What each piece of a reply must say, since its request says so."""

    id: str
    digest: str
    room_id: RoomId
    asker: str
    """Our public key, as the request named it."""
    answerer: str
    answerer_user: UserId


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reply was taken: `seq` is the next piece's, `chain` the last one's (at first the request's digest)."""

    seq: int
    chain: str


@dataclass(frozen=True, slots=True)
class Piece:
    chain: str
    body: JsonObject


@dataclass(frozen=True, slots=True)
class Advanced:
    """`taken` are bodies in order. With `broken` what stands at the new position is not what belongs there."""

    position: Position
    taken: Sequence[JsonObject]
    broken: bool = False

    @property
    def ended(self) -> bool:
        return bool(self.taken) and self.taken[-1]["kind"] in LAST


def belongs(message: Message, bound: Bound, sender: UserId, room_id: RoomId) -> None:
    """Is this a piece of the reply to that request? `sender` and `room_id` are what the homeserver says. Its signature
    is checked elsewhere. Raises Forged."""
    wanted = {
        "type": REPLY,
        "room_id": bound.room_id,
        "sender": bound.answerer_user,
        "origin": bound.answerer,
        "target": bound.asker,
        "request": bound.id,
        "digest": bound.digest,
    }
    for name, value in wanted.items():
        if getattr(message, name) != value:
            raise Forged(f"its {name} is not that of the request")
    if (sender, room_id) != (bound.answerer_user, bound.room_id):
        raise Forged("it came from somebody else, or in another room")


def is_wanted(seq: int, position: Position) -> bool:
    """Can this piece still be of use? One that was taken, or lies too far ahead, cannot."""
    return position.seq <= seq < position.seq + FARTHEST


def advance(position: Position, there: Mapping[int, Piece]) -> Advanced:
    """Take what is `there`, by number, up to the first that is missing, wrong, or the last."""
    seq, chain, taken = position.seq, position.chain, list[JsonObject]()
    while (piece := there.get(seq)) is not None:
        if not hmac.compare_digest(piece.chain, next_chain(chain, piece.body)):
            return Advanced(Position(seq, chain), taken, broken=True)
        seq, chain = seq + 1, piece.chain
        taken.append(piece.body)
        if piece.body["kind"] in LAST:
            break
    return Advanced(Position(seq, chain), taken)
