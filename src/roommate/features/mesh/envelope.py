"""The signed objects that daemons send each other: shape, signature, digest, chain. See docs/mesh-protocol.md.

What signs is Matrix' own JSON signing (https://spec.matrix.org/v1.16/appendices/#signing-json), over an object that
names all that it is bound to. Nothing else is in the content of its event.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar

from canonicaljson import encode_canonical_json
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from signedjson.key import decode_verify_key_base64
from signedjson.sign import SignatureVerifyException, sign_json, verify_signed_json
from signedjson.types import SigningKey, VerifyKey
from unpaddedbase64 import decode_base64, encode_base64

from roommate.domain import JsonObject
from roommate.errors import RoommateError

REQUEST = "io.roommate.mesh.request"
REPLY = "io.roommate.mesh.reply"
INPUT = "io.roommate.mesh.input"
INTRODUCTION = "io.roommate.mesh.introduction"

MOST_BYTES = 48 * 1024
"""Of the canonical JSON of an object with its signature: encrypted it still fits into an event."""
DEEPEST = 24
"""Objects and lists within each other."""
MOST_VALUES = 20_000

# Patterns are those of Rust: $ is the very end.
_INT = 2**53 - 1
"""https://spec.matrix.org/v1.16/appendices/#canonical-json"""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$")]
"""An Ed25519 public key in base64 without padding, the only way to write these 32 bytes."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Ulid = Annotated[str, Field(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
Version = Annotated[int, Field(ge=1, le=1)]
Room = Annotated[str, Field(pattern=r"^![^\s\x00]{1,254}$")]
User = Annotated[str, Field(pattern=r"^@[^\s\x00:]{1,253}:[^\s\x00]{1,253}$", max_length=255)]
Milliseconds = Annotated[int, Field(ge=0, le=_INT)]

_SHAPE = ConfigDict(strict=True, extra="forbid", defer_build=True)


class Malformed(RoommateError):
    """It is no object of this protocol. The message is for the audit log."""


class Forged(RoommateError):
    """The signature is missing, wrong, or another's. The message is for the audit log."""


@dataclass(frozen=True, slots=True, config=_SHAPE)
class Request:
    """Asker to answerer. Times are ms since 1970, keys base64."""

    room_id: Room
    sender: User
    origin: Key
    """The asker's public key."""
    target: Key
    """The answerer's."""
    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
    params: dict[str, Any]
    id: Ulid
    issued: Milliseconds
    expires: Milliseconds
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{22,86}$")]
    """At least 128 random bits."""
    type: Annotated[str, Field(pattern=r"^io\.roommate\.mesh\.request$")] = REQUEST
    v: Version = 1


@dataclass(frozen=True, slots=True, config=_SHAPE)
class Message:
    """A piece of what follows a request: a reply of the answerer, or input of the asker, as `type` says."""

    type: Annotated[str, Field(pattern=r"^io\.roommate\.mesh\.(reply|input)$")]
    room_id: Room
    sender: User
    origin: Key
    """Of who sends this one."""
    target: Key
    request: Ulid
    digest: Hash
    """Of the request that it belongs to."""
    seq: Annotated[int, Field(ge=0, le=_INT)]
    """0, 1, 2 … in its direction."""
    chain: Hash
    body: dict[str, Any]
    v: Version = 1

    @property
    def kind(self) -> str:
        """What its body is."""
        return str(self.body["kind"])


@dataclass(frozen=True, slots=True, config=_SHAPE)
class Introduction:
    """A daemon tells a room who it is. It gives no right."""

    room_id: Room
    sender: User
    origin: Key
    version: Annotated[str, Field(max_length=64)]
    methods: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)]
    load: Annotated[int, Field(ge=0, le=1_000_000)]
    """Requests that it runs now."""
    issued: Milliseconds
    rotations: Annotated[list[dict[str, Any]], Field(max_length=8)]
    """How it came to this key, the newest last: each signed by the key before it."""
    type: Annotated[str, Field(pattern=r"^io\.roommate\.mesh\.introduction$")] = INTRODUCTION
    v: Version = 1


class Exchange(NamedTuple):
    """A request and all that follows it, at either end."""

    room_id: str
    peer: str
    """The other one's public key."""
    id: str
    digest: str


Signed = Request | Message | Introduction
T = TypeVar("T", Request, Message, Introduction)


def sign(key: SigningKey, one: Signed) -> JsonObject:
    """The content of its event. Raises Malformed where it would be too large, or has what JSON of Matrix does not."""
    content = sign_json(_fields(one), one.sender, key)
    _measure(content)
    return content


def sign_next(
    key: SigningKey, of: Exchange, type: str, sender: str, origin: str, seq: int, previous: str, body: JsonObject
) -> tuple[JsonObject, str]:
    """The content of the next event to the other end, `origin` being our public key there, and the chain at it; for
    `previous` see `next_chain`. Raises Malformed as `sign` does."""
    message = Message(
        type=type,
        room_id=of.room_id,
        sender=sender,
        origin=origin,
        target=of.peer,
        request=of.id,
        digest=of.digest,
        seq=seq,
        chain=next_chain(previous, body),
        body=body,
    )
    return sign(key, message), message.chain


def read_request(content: object) -> Request:
    """Raises Malformed; whether it is signed is for `verify`."""
    return _read(Request, content)


def read_message(content: object) -> Message:
    """Raises Malformed; whether it is signed is for `verify`."""
    message = _read(Message, content)
    if not isinstance(message.body.get("kind"), str):
        raise Malformed("its body has no kind")
    return message


def read_introduction(content: object) -> Introduction:
    """Raises Malformed; whether it is signed is for `verify`."""
    return _read(Introduction, content)


def verify(content: JsonObject, public_key: str, sender: str) -> None:
    """Is it signed by this key, in the name of this sender, and by nobody else? Raises Forged."""
    name = f"ed25519:{key_id(public_key)}"
    match content.get("signatures"):
        case {**signatures} if signatures.keys() == {sender} and _is_signature(signatures[sender], name):
            pass
        case _:
            raise Forged(f"it must have one signature, {name} of {sender}")
    try:
        verify_signed_json(content, sender, verify_key(public_key))
    except (SignatureVerifyException, ValueError) as error:
        raise Forged("the signature is wrong") from error


def digest(request: Request) -> str:
    """Hex SHA-256 of its canonical JSON, without signatures: to which approvals and replies are bound."""
    return hashlib.sha256(canonical(_fields(request))).hexdigest()


def next_chain(previous: str, body: Mapping[str, Any]) -> str:
    """The chain's value at a piece with this body: `previous` is that of the piece before it in this direction, or the
    digest of the request for the first. Hex SHA-256 of the 32 bytes that `previous` stands for, then the canonical JSON
    of the body."""
    return hashlib.sha256(bytes.fromhex(previous) + canonical(body)).hexdigest()


def canonical(value: object) -> bytes:
    """Canonical JSON. Raises Malformed for what has none: floats, integers beyond 53 bits, halves of surrogates."""
    _survey(value)
    try:
        return encode_canonical_json(value)
    except UnicodeEncodeError as error:
        raise Malformed("it has text that is no Unicode") from error


def key_id(public_key: str) -> str:
    """The first 8 hex digits of the SHA-256 of a key's 32 bytes."""
    return hashlib.sha256(bytes_of(public_key)).hexdigest()[:8]


@lru_cache(maxsize=256)
def verify_key(public_key: str) -> VerifyKey:
    """Raises ValueError where it is no key."""
    return decode_verify_key_base64("ed25519", key_id(public_key), public_key)


def bytes_of(public_key: str) -> bytes:
    return decode_base64(public_key)


def new_id() -> str:
    """A ULID (https://github.com/ulid/spec): 48 bits of milliseconds, 80 random ones."""
    number = int(time.time() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(26)))


def new_nonce() -> str:
    """128 random bits in base64."""
    return encode_base64(secrets.token_bytes(16))


def _fields(one: Signed) -> JsonObject:
    return {field.name: getattr(one, field.name) for field in fields(one)}


def _read(shape: type[T], content: object) -> T:
    if not isinstance(content, dict):
        raise Malformed("it is no object")
    _measure(content)
    named = dict(content)
    if not isinstance(named.pop("signatures", None), dict):
        raise Malformed("it is not signed")
    if missing := {"v", "type"} - named.keys():
        raise Malformed(f"{', '.join(sorted(missing))}: missing")
    try:
        return shape(**named)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Malformed(f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}") from None


def _measure(content: JsonObject) -> None:
    if (size := len(canonical(content))) > MOST_BYTES:
        raise Malformed(f"it has {size} bytes, {MOST_BYTES} are the most")


def _survey(value: object) -> None:
    """What canonical JSON cannot say, or what would take long to say."""
    left, values = [(value, 0)], 0
    while left:
        one, depth = left.pop()
        values += 1
        if depth > DEEPEST or values > MOST_VALUES:
            raise Malformed("it is too deep, or has too many values")
        if isinstance(one, dict):
            if not all(isinstance(name, str) for name in one):
                raise Malformed("it has names that are no text")
            left += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            left += [(inner, depth + 1) for inner in one]
        elif isinstance(one, int):
            if abs(one) > _INT:
                raise Malformed("it has an integer beyond 53 bits")
        elif one is not None and not isinstance(one, str):
            raise Malformed(f"it has a {type(one).__name__}, which canonical JSON has not")


def _is_signature(signatures: object, name: str) -> bool:
    match signatures:
        case {**by_key} if by_key.keys() == {name}:
            return re.fullmatch(r"[A-Za-z0-9+/]{86}", str(by_key[name])) is not None
    return False
