"""This daemon's Ed25519 key: made once, kept in a file of its own, rotated by a statement that the old key signs."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from nacl.signing import SigningKey as Seeded
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from signedjson.key import decode_signing_key_base64
from signedjson.sign import SignatureVerifyException, sign_json, verify_signed_json
from signedjson.types import SigningKey
from unpaddedbase64 import decode_base64, encode_base64

from roommate.domain import JsonObject
from roommate.errors import StateError
from roommate.features.mesh.envelope import Key, bytes_of, key_id, verify_key
from roommate.host import durable_files

FILE = "identity.key"
KEPT_ROTATIONS = 8
ROTATION = "io.roommate.mesh.rotation"

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
_OLD, _NEW = "old", "new"


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)
    v: Annotated[int, Field(ge=1, le=1)]
    seed: Key
    made: int
    rotations: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Identity:
    signing_key: SigningKey
    made: int
    """Ms since 1970."""
    rotations: tuple[JsonObject, ...]
    """The statements by which earlier keys handed over, the newest last."""
    file: Path

    @classmethod
    def load(cls, state_dir: Path) -> Identity:
        """The key of this state folder, made where there is none; who starts at the same time gets the same one.

        Raises StateError where the file cannot be read, is damaged, or can be read by others.
        """
        file = state_dir / FILE
        try:
            if not file.exists():
                _create(file)
            if file.stat().st_mode & 0o077:
                raise StateError(f"{file} can be read by others: chmod 600 it, or rotate the key if somebody may have")
            return _read(file)
        except OSError as error:
            raise StateError(f"the identity {file} cannot be used: {error.strerror}") from error

    @property
    def public(self) -> str:
        """Base64 without padding."""
        return encode_base64(self.signing_key.verify_key.encode())

    @property
    def words(self) -> str:
        return words(self.public)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def rotated(self) -> Identity:
        """A new key in the place of this one, on the disk already, with this one's word for it. Blocks."""
        fresh = Seeded.generate()
        new = encode_base64(fresh.verify_key.encode())
        now = int(time.time() * 1000)
        statement = rotation(self.signing_key, _signing_key(encode_base64(fresh.encode())), now)
        rotations = (*self.rotations, statement)[-KEPT_ROTATIONS:]
        durable_files.replace(self.file, _text(encode_base64(fresh.encode()), now, rotations), lasting=True)
        after = _read(self.file)
        assert after.public == new
        return after


def words(public_key: str) -> str:
    """Four words to be compared aloud: the first 64 bits of the key's SHA-256 as proquints
    (https://arxiv.org/html/0901.4016)."""
    found = hashlib.sha256(bytes_of(public_key)).digest()
    return "-".join(_proquint(int.from_bytes(found[place : place + 2], "big")) for place in range(0, 8, 2))


def fingerprint(public_key: str) -> str:
    """The key's whole SHA-256 in hex, in groups of eight."""
    found = hashlib.sha256(bytes_of(public_key)).hexdigest()
    return " ".join(found[place : place + 8] for place in range(0, 64, 8))


def rotation(old: SigningKey, new: SigningKey, at: int) -> JsonObject:
    """The old key says that the new one follows it; the new one says that it is had by who says so."""
    public_of_new, public_of_old = (encode_base64(one.verify_key.encode()) for one in (new, old))
    statement: JsonObject = {"v": 1, "type": ROTATION, _OLD: public_of_old, _NEW: public_of_new, "at": at}
    return sign_json(sign_json(statement, _OLD, old), _NEW, new)


def successor(statement: JsonObject) -> tuple[str, str]:
    """The old and the new key of a rotation that both have signed. Raises ValueError for any other."""
    match statement:
        case {"v": 1, "type": "io.roommate.mesh.rotation", "old": str(old), "new": str(new), "at": int(), **rest}:
            if rest.keys() != {"signatures"} or old == new:
                raise ValueError("it is no rotation")
        case _:
            raise ValueError("it is no rotation")
    for name, key in ((_OLD, old), (_NEW, new)):
        if len(decode_base64(key)) != 32:
            raise ValueError("it names no key")
        try:
            verify_signed_json(dict(statement), name, verify_key(key))
        except (SignatureVerifyException, AttributeError, TypeError) as error:
            raise ValueError(f"the {name} key has not signed it") from error
    return old, new


def _proquint(value: int) -> str:
    return (
        _CONSONANTS[value >> 12]
        + _VOWELS[value >> 10 & 3]
        + _CONSONANTS[value >> 6 & 15]
        + _VOWELS[value >> 4 & 3]
        + _CONSONANTS[value & 15]
    )


def _create(file: Path) -> None:
    """Make it whole under another name, then give it this one: who comes second finds that it is there."""
    text = _text(encode_base64(Seeded.generate().encode()), int(time.time() * 1000), ())
    descriptor, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(fresh, file)
        except FileExistsError:
            return
        durable_files.to_disk(file.parent)
    finally:
        Path(fresh).unlink()


def _text(seed: str, made: int, rotations: tuple[JsonObject, ...]) -> bytes:
    return json.dumps({"v": 1, "seed": seed, "made": made, "rotations": list(rotations)}).encode()


def _read(file: Path) -> Identity:
    try:
        found = _File.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise StateError(
            f"the identity {file} is damaged: put it back from a backup, or move it away for a new one"
        ) from error
    return Identity(_signing_key(found.seed), found.made, tuple(found.rotations), file)


def _signing_key(seed: str) -> SigningKey:
    bare = decode_signing_key_base64("ed25519", "", seed)
    return decode_signing_key_base64("ed25519", key_id(encode_base64(bare.verify_key.encode())), seed)
