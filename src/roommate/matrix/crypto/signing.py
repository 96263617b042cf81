"""Signed JSON: https://spec.matrix.org/v1.16/appendices/#signing-json."""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import Self

import nacl.signing
import vodozemac

from roommate.domain import JsonObject


def unpadded(given: bytes) -> str:
    return base64.b64encode(given).decode().rstrip("=")


def from_unpadded(given: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("it is no Base64") from error


def canonical(value: JsonObject) -> bytes:
    """What is signed of an object: all but its signatures and what is unsigned."""
    return canonical_whole({name: part for name, part in value.items() if name not in ("signatures", "unsigned")})


def canonical_whole(value: JsonObject) -> bytes:
    """https://spec.matrix.org/v1.16/appendices/#canonical-json"""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def is_signed(value: object, user: str, key_id: str, public: object) -> bool:
    """Has this key, which is `public` and named ``ed25519:…``, signed the object in the name of the user?"""
    try:
        given = value["signatures"][user][key_id]  # type: ignore[index]
        key = vodozemac.Ed25519PublicKey.from_base64(public)  # type: ignore[arg-type]
        key.verify_signature(canonical(value), vodozemac.Ed25519Signature.from_base64(given))  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    return True


class SigningKey:
    """An Ed25519 key that signs in our name, beside that of the device."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = nacl.signing.SigningKey(seed)
        self.public = unpadded(bytes(self._key.verify_key))
        self.id = f"ed25519:{self.public}"

    @classmethod
    def fresh(cls) -> Self:
        return cls(os.urandom(32))

    def signed(self, value: JsonObject, user: str) -> JsonObject:
        """The object with this signature, beside those it has."""
        signature = unpadded(self._key.sign(canonical(value)).signature)
        signatures = value.get("signatures", {})
        return {**value, "signatures": {**signatures, user: {**signatures.get(user, {}), self.id: signature}}}
