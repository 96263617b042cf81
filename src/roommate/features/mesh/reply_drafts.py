"""The signed replies of this daemon, as events that wait to be sent."""

from __future__ import annotations

from collections.abc import Callable

from roommate.domain import Draft, JsonObject, RoomId, UserId
from roommate.features.mesh.envelope import REPLY, Exchange, Request, digest, sign_next
from roommate.features.mesh.identity_key import Identity
from roommate.store.mesh_requests import PeerRequest


def replying(identity: Callable[[], Identity], bot: UserId) -> Callable[[PeerRequest, JsonObject], tuple[Draft, str]]:
    """Makes the next reply to a request."""

    def answer(row: PeerRequest, body: JsonObject) -> tuple[Draft, str]:
        key, of = identity(), Exchange(row.room_id, row.peer, row.id, row.digest)
        content, chain = sign_next(key.signing_key, of, REPLY, bot, key.public, row.seq, row.chain, body)
        return Draft(row.room_id, content, event_type=REPLY), chain

    return answer


def replying_once(identity: Callable[[], Identity], bot: UserId) -> Callable[[Request, JsonObject], Draft]:
    """Makes the one reply to a request that is answered as it comes, once however often it is made."""

    def reply(request: Request, body: JsonObject) -> Draft:
        key, of = identity(), Exchange(request.room_id, request.origin, request.id, digest(request))
        content, _ = sign_next(key.signing_key, of, REPLY, bot, key.public, 0, of.digest, body)
        return Draft(RoomId(request.room_id), content, event_type=REPLY, once=f"mesh-reply:{of.digest}")

    return reply
