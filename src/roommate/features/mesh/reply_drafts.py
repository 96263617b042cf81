"""The signed replies of this daemon, as events that wait to be sent."""

from __future__ import annotations

from collections.abc import Callable

from roommate.domain import Draft, JsonObject, RoomId, UserId
from roommate.features.mesh.envelope import REPLY, Message, Request, digest, next_chain, sign
from roommate.features.mesh.identity_key import Identity
from roommate.store.mesh_requests import PeerRequest


def replying(identity: Callable[[], Identity], bot: UserId) -> Callable[[PeerRequest, JsonObject], tuple[Draft, str]]:
    """Makes the next reply to a request."""

    def answer(row: PeerRequest, body: JsonObject) -> tuple[Draft, str]:
        key = identity()
        chain = next_chain(row.chain, body)
        message = Message(
            type=REPLY,
            room_id=row.room_id,
            sender=bot,
            origin=key.public,
            target=row.peer,
            request=row.id,
            digest=row.digest,
            seq=row.seq,
            chain=chain,
            body=body,
        )
        return Draft(row.room_id, sign(key.signing_key, message), event_type=REPLY), chain

    return answer


def replying_once(identity: Callable[[], Identity], bot: UserId) -> Callable[[Request, JsonObject], Draft]:
    """Makes the one reply to a request that is answered as it comes, once however often it is made."""

    def reply(request: Request, body: JsonObject) -> Draft:
        key, of = identity(), digest(request)
        message = Message(
            type=REPLY,
            room_id=request.room_id,
            sender=bot,
            origin=key.public,
            target=request.origin,
            request=request.id,
            digest=of,
            seq=0,
            chain=next_chain(of, body),
            body=body,
        )
        content = sign(key.signing_key, message)
        return Draft(RoomId(request.room_id), content, event_type=REPLY, once=f"mesh-reply:{of}")

    return reply
