"""Secret storage: what only the account's owner may know, kept on the homeserver, encrypted with their recovery key.

https://spec.matrix.org/v1.16/client-server-api/#secret-storage, with ``m.secret_storage.v1.aes-hmac-sha2``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any
from urllib.parse import quote

from roommate.domain import JsonObject, UserId
from roommate.errors import Refused
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.signing import from_unpadded, unpadded
from roommate.matrix.parse import obj, text

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
_DEFAULT = "m.secret_storage.default_key"
_KEY = "m.secret_storage.key."
_ZEROS = "\0" * 32
"""What is encrypted with a key, under no name, so that it can be told whether it is the right one."""
_BLOCK = 16
"""Bytes of AES."""


def keys_of(key: bytes, name: str) -> tuple[bytes, bytes]:
    """What encrypts under this name, and what vouches for it; 32 bytes each."""
    from Crypto.Hash import SHA256
    from Crypto.Protocol.KDF import HKDF

    both = HKDF(key, 64, bytes(32), SHA256, context=name.encode())
    return both[:32], both[32:]


def _cipher(key: bytes, counter: bytes) -> Any:
    from Crypto.Cipher import AES  # which parses C: a start is spared that

    return AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=counter)


def seal(key: bytes, name: str, secret: str, iv: bytes | None = None) -> JsonObject:
    if iv is None:
        fresh = bytearray(os.urandom(16))
        fresh[8] &= 0x7F  # bit 63, as the specification wants it for some implementations' counters
        iv = bytes(fresh)
    encrypts, vouches = keys_of(key, name)
    ciphertext = _cipher(encrypts, iv).encrypt(secret.encode())
    mac = hmac.digest(vouches, ciphertext, hashlib.sha256)
    return {"iv": unpadded(iv), "ciphertext": unpadded(ciphertext), "mac": unpadded(mac)}


def unseal(key: bytes, name: str, sealed: JsonObject) -> str:
    """Raises ValueError: it is not encrypted with this key, or not under this name."""
    try:
        iv, ciphertext, mac = (from_unpadded(sealed[part]) for part in ("iv", "ciphertext", "mac"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is not written as it has to be") from error
    encrypts, vouches = keys_of(key, name)
    if len(iv) != _BLOCK or not hmac.compare_digest(mac, hmac.digest(vouches, ciphertext, hashlib.sha256)):
        raise ValueError("it is encrypted with another key")
    secret: bytes = _cipher(encrypts, iv).decrypt(ciphertext)
    return secret.decode()


def described(key: bytes) -> JsonObject:
    """What the homeserver is told of a key."""
    proof = seal(key, "", _ZEROS)
    return {"algorithm": ALGORITHM, "iv": proof["iv"], "mac": proof["mac"]}


def fits(key: bytes, description: JsonObject) -> bool:
    """Is it this key? One without a proof may be."""
    try:
        iv, mac = from_unpadded(description["iv"]), from_unpadded(description["mac"])
        return len(iv) == _BLOCK and hmac.compare_digest(from_unpadded(seal(key, "", _ZEROS, iv)["mac"]), mac)
    except KeyError:
        return "iv" not in description and "mac" not in description
    except (ValueError, TypeError, AttributeError):
        return False


class SecretStorage:
    """Of the account. Everything raises MatrixError."""

    def __init__(self, ask: Ask, user: UserId) -> None:
        self._ask, self._user = ask, user

    async def default(self) -> tuple[str, JsonObject] | None:
        """The key that is in use: its id, and what is said of it; None where there is none."""
        key_id = text((await self._get(_DEFAULT)).get("key"))
        description = await self._get(_KEY + key_id) if key_id else {}
        return (key_id, description) if key_id and description else None

    async def describe(self, key_id: str, description: JsonObject) -> None:
        await self._put(_KEY + key_id, description)

    async def use(self, key_id: str) -> None:
        """From now on."""
        await self._put(_DEFAULT, {"key": key_id})

    async def read(self, name: str, key_id: str, key: bytes) -> str:
        """A secret; empty where there is none that this key opens."""
        try:
            return unseal(key, name, obj(obj((await self._get(name)).get("encrypted")).get(key_id)))
        except ValueError:
            return ""

    async def write(self, name: str, key_id: str, key: bytes, secret: str, *, alone: bool) -> None:
        """`alone`: whoever has another key cannot read it any more."""
        others = {} if alone else obj((await self._get(name)).get("encrypted"))
        await self._put(name, {"encrypted": {**others, key_id: seal(key, name, secret)}})

    async def _get(self, kind: str) -> JsonObject:
        try:
            return await self._ask.call("give what it keeps of the account", "GET", self._path(kind))
        except Refused as error:
            if error.errcode != "M_NOT_FOUND":
                raise
            return {}

    async def _put(self, kind: str, content: JsonObject) -> None:
        await self._ask.call("keep a secret of the account", "PUT", self._path(kind), content)

    def _path(self, kind: str) -> str:
        return f"/user/{quote(self._user, safe='')}/account_data/{quote(kind, safe='')}"
