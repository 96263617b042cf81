"""A daemon that is none: a person at the client-server API who holds a key, and signs, or mis-signs, raw events.

Nothing that answers for Roommate is used here but the envelope, so that what is sent can be wrong in any way.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol

from nacl.signing import SigningKey as Seeded
from signedjson.key import decode_signing_key_base64
from signedjson.types import SigningKey
from typing_extensions import TypeVar
from unpaddedbase64 import encode_base64

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Introduction, Message, Request
from tests.person import Person

JsonObject = dict[str, Any]
T = TypeVar("T")


class Event(Protocol):
    """As it was meant, where it came encrypted."""

    @property
    def room_id(self) -> str: ...
    @property
    def sender(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def content(self) -> JsonObject: ...


class Member(Protocol):
    """Somebody at a client, of whatever kind."""

    user_id: str

    @property
    def seen(self) -> Sequence[Event]: ...
    async def send(self, room: str, event_type: str, content: JsonObject) -> str: ...
    async def wait(self, predicate: Callable[[], T], *, what: str = ...) -> T: ...


AMember = TypeVar("AMember", bound=Member, default=Person)


def new_key() -> SigningKey:
    seed = Seeded.generate()
    name = envelope.key_id(encode_base64(seed.verify_key.encode()))
    return decode_signing_key_base64("ed25519", name, encode_base64(seed.encode()))


def public_of(key: SigningKey) -> str:
    return encode_base64(key.verify_key.encode())


def request(key: SigningKey, sender: str, room: str, target: str, method: str = "ping", **params: Any) -> Request:
    """One that is right, of now."""
    now = int(time.time() * 1000)
    return Request(
        room_id=room,
        sender=sender,
        origin=public_of(key),
        target=target,
        method=method,
        params=params,
        id=envelope.new_id(),
        issued=now,
        expires=now + 60_000,
        nonce=envelope.new_nonce(),
    )


class RawPeer(Generic[AMember]):
    """Asks a daemon whose key is `target` in the rooms of `person`."""

    def __init__(self, person: AMember, target: str, key: SigningKey | None = None) -> None:
        self.person = person
        self.target = target
        self.key = key or new_key()

    @property
    def public(self) -> str:
        return public_of(self.key)

    def request(self, room: str, method: str = "ping", **params: Any) -> Request:
        return request(self.key, self.person.user_id, room, self.target, method, **params)

    def signed(self, one: Request | Message | Introduction, **changes: Any) -> JsonObject:
        return envelope.sign(self.key, dataclasses.replace(one, **changes))

    async def send(self, room: str, content: JsonObject, event_type: str = envelope.REQUEST) -> str:
        """As it is, however wrong; returns the event id."""
        return await self.person.send(room, event_type, content)

    async def ask(self, room: str, method: str = "ping", **params: Any) -> Request:
        asked = self.request(room, method, **params)
        await self.send(room, self.signed(asked))
        return asked

    async def introduce(self, room: str, **changes: Any) -> str:
        one = Introduction(
            room_id=room,
            sender=self.person.user_id,
            origin=self.public,
            version="1.0",
            methods=["ping"],
            load=0,
            issued=int(time.time() * 1000),
            rotations=[],
        )
        return await self.send(room, self.signed(one, **changes), envelope.INTRODUCTION)

    def input(self, asked: Request, seq: int, chain: str, **body: Any) -> Message:
        """A piece of input for what was asked; `chain` is that of the piece before, or the request's digest."""
        return Message(
            type=envelope.INPUT,
            room_id=asked.room_id,
            sender=self.person.user_id,
            origin=self.public,
            target=self.target,
            request=asked.id,
            digest=envelope.digest(asked),
            seq=seq,
            chain=envelope.next_chain(chain, body),
            body=body,
        )

    def replies(self, asked: Request) -> list[Message]:
        """What has come of it, in the order of arrival, each verified."""
        found = []
        for seen in self.person.seen:
            if seen.type == envelope.REPLY and seen.content.get("request") == asked.id:
                message = envelope.read_message(seen.content)
                envelope.verify(seen.content, self.target, message.sender)
                assert (message.digest, message.sender) == (envelope.digest(asked), seen.sender)
                found.append(message)
        return sorted(found, key=lambda one: one.seq)

    async def reply(self, asked: Request, wanted: Callable[[Message], bool] = lambda one: True) -> Message:
        """The first that is as wanted."""
        found = await self.person.wait(
            lambda: [one for one in self.replies(asked) if wanted(one)], what=f"a reply to {asked.method}"
        )
        return found[0]

    async def refusal(self, asked: Request) -> str:
        """The code that it is refused with."""
        return str((await self.reply(asked, lambda one: one.kind == "refused")).body["code"])
