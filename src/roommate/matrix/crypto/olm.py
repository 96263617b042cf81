"""Olm: messages from one device to another, such as room keys.

https://spec.matrix.org/v1.16/client-server-api/#molmv1curve25519-aes-sha2. Every function works within a transaction:
the step of a ratchet and what it was taken for are kept together or not at all.
"""

from __future__ import annotations

import json
import time
from typing import Any

import vodozemac

from roommate.domain import JsonObject
from roommate.matrix.crypto import strangers
from roommate.matrix.crypto.own_device import OLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.records import OLM, Records, key, load, save
from roommate.matrix.crypto.signing import from_unpadded, unpadded

MOST_SESSIONS = 5
"""With one device; the one that was used longest ago goes."""


class Undecipherable(Exception):
    """Nobody can read this message of a device: what it thinks of our session is not what we think of it."""


def has_session(r: Records, user: str, curve25519: str) -> bool:
    return bool(_rows(r, user, curve25519))


def begin(r: Records, pickle_key: bytes, own: OwnDevice, user: str, curve25519: str, one_time_key: str) -> None:
    """A session with a device of which this key was claimed. Raises ValueError where these are no keys."""
    session = own.account.create_outbound_session(
        vodozemac.Curve25519PublicKey.from_base64(curve25519), vodozemac.Curve25519PublicKey.from_base64(one_time_key)
    )
    own.save(r, pickle_key)
    _keep(r, pickle_key, user, curve25519, session)


def encrypt(
    r: Records, pickle_key: bytes, own: OwnDevice, to: tuple[str, str, str], kind: str, content: JsonObject
) -> JsonObject | None:
    """The content of an ``m.room.encrypted`` for the device of this user, Curve25519 and Ed25519 key; None where
    there is no session with it."""
    user, curve25519, ed25519 = to
    sessions = _sessions(r, pickle_key, user, curve25519)
    if not sessions:
        return None
    payload = {
        "sender": own.user_id,
        "sender_device": own.device_id,
        "keys": {"ed25519": own.ed25519},
        "sender_device_keys": own.keys(),
        "recipient": user,
        "recipient_keys": {"ed25519": ed25519},
        "type": kind,
        "content": content,
    }
    session, used = sessions[0]
    kind_of, body = session.encrypt(json.dumps(payload, ensure_ascii=False).encode()).to_parts()
    _keep(r, pickle_key, user, curve25519, session, used)
    return {
        "algorithm": OLM_ALGORITHM,
        "sender_key": own.curve25519,
        "ciphertext": {curve25519: {"type": kind_of, "body": unpadded(body)}},
    }


def decrypt(r: Records, pickle_key: bytes, own: OwnDevice, sender: str, content: JsonObject) -> JsonObject:
    """What a device of `sender` has for us. Raises Undecipherable, and ValueError, KeyError, TypeError or
    RecursionError for what is no message to us at all."""
    curve25519 = content["sender_key"]
    mine = content["ciphertext"][own.curve25519]
    payload = json.loads(_decrypted(r, pickle_key, own, sender, curve25519, mine["type"], mine["body"]))
    if payload["sender"] != sender or payload["recipient"] != own.user_id:
        raise ValueError("it is passed on from somebody else")
    if payload["recipient_keys"]["ed25519"] != own.ed25519:
        raise ValueError("it is for another device")
    if not isinstance(payload["keys"]["ed25519"], str) or not isinstance(payload["content"], dict):
        raise ValueError("it is not written as it has to be")
    return dict(payload)


def _decrypted(
    r: Records, pickle_key: bytes, own: OwnDevice, user: str, curve25519: str, kind: object, body: str
) -> bytes:
    sessions = _sessions(r, pickle_key, user, curve25519)
    first = vodozemac.PreKeyMessage.from_base64(body) if kind == 0 else None
    message = first.to_any() if first else vodozemac.AnyOlmMessage.normal(from_unpadded(body))
    for session, _ in sessions:
        if first is not None and not session.session_matches(first):
            continue
        try:
            plain = session.decrypt(message)
        except ValueError as error:  # every error of vodozemac is one
            if first is not None:
                raise Undecipherable(str(error)) from error
            continue
        _keep(r, pickle_key, user, curve25519, session)
        return bytes(plain)
    if first is None:
        raise Undecipherable("no session with this device knows it")
    try:
        session, plain = own.account.create_inbound_session(
            vodozemac.Curve25519PublicKey.from_base64(curve25519), first
        )
    except ValueError as error:
        raise Undecipherable(str(error)) from error
    own.save(r, pickle_key)  # the one-time key is used up with this
    _keep(r, pickle_key, user, curve25519, session)
    return bytes(plain)


def _sessions(r: Records, pickle_key: bytes, user: str, curve25519: str) -> list[tuple[Any, float]]:
    """With a device, and when the device was heard there last: the newest first."""
    rows = _rows(r, user, curve25519)
    return [(vodozemac.Session.from_pickle(one["pickle"], pickle_key), one["heard"]) for _, one in rows]


def _rows(r: Records, user: str, curve25519: str) -> list[tuple[str, JsonObject]]:
    """The newest first. Any user may say that a device of theirs has the key of somebody else's."""
    found = [(name, json.loads(value)) for name, value in r.all(OLM, f"{curve25519} ")]
    theirs = [one for one in found if one[1].get("user", user) == user]  # earlier releases did not say whose it is
    return sorted(theirs, key=lambda one: -one[1]["heard"])


def _keep(
    r: Records, pickle_key: bytes, user: str, curve25519: str, session: Any, heard: float | None = None
) -> None:  # fmt: skip
    name = key(curve25519, session.session_id)
    known = load(r, OLM, name)
    heard = time.time() if heard is None else heard
    save(r, OLM, name, {**(known or {"user": user}), "pickle": session.pickle(pickle_key), "heard": heard})
    if known is None:
        strangers.unused(r, user, OLM, name)
        for old, _ in _rows(r, user, curve25519)[MOST_SESSIONS:]:
            r.drop(OLM, old)
            strangers.used(r, user, OLM, old)
