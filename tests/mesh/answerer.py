"""A peer that answers as the test says: a person with a key, who signs replies, right ones and wrong ones."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Generic

from signedjson.types import SigningKey

from roommate.domain import JsonObject
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import REPLY, Message, Request
from tests.mesh.peer import AMember, new_key, public_of


class Answerer(Generic[AMember]):
    """`person` is in the rooms of the daemon that asks."""

    def __init__(self, person: AMember, key: SigningKey | None = None) -> None:
        self.person, self.key = person, key or new_key()

    @property
    def public(self) -> str:
        return public_of(self.key)

    async def asked(self, room: str, number: int = 0) -> Request:
        """The request of that number in the room, which is signed by who sent it."""

        def look() -> JsonObject | None:
            found = [one.content for one in self.person.seen if one.type == envelope.REQUEST and one.room_id == room]
            return found[number] if len(found) > number else None

        content = await self.person.wait(look, what="a request")
        assert content is not None
        request = envelope.read_request(content)
        envelope.verify(content, request.origin, request.sender)
        assert request.target == self.public
        return request

    def inputs(self, request: Request) -> list[JsonObject]:
        """The bodies of what was sent to it since, each verified, in their order."""
        found, chain = list[JsonObject](), envelope.digest(request)
        for seen in self.person.seen:
            if seen.type == envelope.INPUT and seen.content.get("request") == request.id:
                message = envelope.read_message(seen.content)
                envelope.verify(seen.content, request.origin, request.sender)
                chain = envelope.next_chain(chain, message.body)
                assert (message.seq, message.chain) == (len(found), chain)
                found.append(message.body)
        return found

    def reply(self, request: Request, *bodies: JsonObject) -> list[Message]:
        """A whole reply."""
        chain, found = envelope.digest(request), list[Message]()
        for seq, body in enumerate(bodies):
            chain = envelope.next_chain(chain, body)
            found.append(
                Message(
                    type=REPLY,
                    room_id=request.room_id,
                    sender=self.person.user_id,
                    origin=self.public,
                    target=request.origin,
                    request=request.id,
                    digest=envelope.digest(request),
                    seq=seq,
                    chain=chain,
                    body=body,
                )
            )
        return found

    async def send(self, *messages: Message, key: SigningKey | None = None, kind: str = REPLY) -> None:
        for message in messages:
            await self.person.send(message.room_id, kind, envelope.sign(key or self.key, message))

    async def answer(self, request: Request, *bodies: JsonObject) -> None:
        await self.send(*self.reply(request, *bodies))


def output(data: bytes, stream: str = "out") -> JsonObject:
    return {"kind": "output", "stream": stream, "data": base64.b64encode(data).decode()}


def ended(printed: bytes = b"", **more: Any) -> JsonObject:
    """The result of a program."""
    told = {"sha256": hashlib.sha256(printed).hexdigest(), "bytes": len(printed), "ms": 12}
    return {"kind": "result", "exit": 0, "signal": None, "timed_out": False, "truncated": False, **told, **more}
