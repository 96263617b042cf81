"""To-device events in: room keys and why there are none, each applied once however often it is delivered."""

from __future__ import annotations

import hashlib
import json
import logging

import vodozemac

from roommate.domain import JsonObject
from roommate.matrix.crypto import megolm, olm, secret_sharing
from roommate.matrix.crypto.device_lists import sender_of
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM, OLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.records import APPLIED, ASKED, WEDGED, WITHHELD, Records, key, load, save
from roommate.matrix.parse import is_room_id, is_user_id, obj, text

WHY = 200
MOST_WITHHELD = 1000
"""Keys of which it is known why they are not given to us, the newest: any account may say so of any."""

_log = logging.getLogger(__name__)


def apply(r: Records, pickle_key: bytes, own: OwnDevice, event: JsonObject) -> bool:
    """Apply a to-device event, unless it was. Gives whether there is a new room key. Never raises for what is in it.

    The event's hash is kept in the transaction of the ratchet's step: a homeserver that was not told yet that the event
    arrived delivers it again, and an Olm message can be decrypted once only.
    """
    name = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
    if r.get(APPLIED, name) is not None:
        return False
    r.put(APPLIED, name, "")
    sender, content = event.get("sender"), obj(event.get("content"))
    if not is_user_id(sender):
        return False
    try:
        if event.get("type") == "m.room_key.withheld":
            return _withheld(r, sender, content)
        if event.get("type") == "m.secret.request":
            secret_sharing.note(r, own, sender, content)
            return False
        if event.get("type") != "m.room.encrypted" or content.get("algorithm") != OLM_ALGORITHM:
            return False
        if own.curve25519 not in obj(content.get("ciphertext")):
            return False
        payload = olm.decrypt(r, pickle_key, own, sender, content)
        return _apply(r, pickle_key, own, sender, content["sender_key"], payload)
    except olm.Undecipherable as error:
        _log.warning("a key from %s cannot be read (%s): a new session with that device begins", sender, error)
        _mark_wedged(r, sender, content.get("sender_key"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _log.warning("what a device of %s sent is passed over: %s", sender, error)
    return False


def _apply(r: Records, pickle_key: bytes, own: OwnDevice, sender: str, curve25519: str, payload: JsonObject) -> bool:
    content, ed25519 = payload["content"], payload["keys"]["ed25519"]
    device = sender_of(r, sender, curve25519)
    if device is not None and device.ed25519 != ed25519:
        raise ValueError("it says that it is of another device")
    if content.get("algorithm") != MEGOLM_ALGORITHM:
        return False
    room_id, session_id = content["room_id"], content["session_id"]
    if not is_room_id(room_id):
        raise ValueError("it is of no room")  # whoever has an account anywhere can send one
    if payload["type"] == "m.room_key":
        session = vodozemac.InboundGroupSession(vodozemac.SessionKey(content["session_key"]))
        user = sender
    elif payload["type"] == "m.forwarded_room_key":
        asked = load(r, ASKED, key(room_id, session_id))
        if asked is None or sender not in (asked["user"], own.user_id):
            raise ValueError("it is a key that was not asked for")
        exported = vodozemac.ExportedSessionKey(content["session_key"])
        session = vodozemac.InboundGroupSession.import_session(exported)
        user, curve25519, ed25519 = asked["user"], content["sender_key"], content["sender_claimed_ed25519_key"]
        if not (isinstance(curve25519, str) and isinstance(ed25519, str)):
            raise ValueError("it does not say whose it is")
    else:
        return False
    if session.session_id != session_id:
        raise ValueError("it is not the key that it says it is")
    r.drop(WITHHELD, key(room_id, session_id))
    unasked = payload["type"] == "m.room_key"
    return megolm.keep_key(
        r, pickle_key, room_id, session, user=user, curve25519=curve25519, ed25519=ed25519, unasked=unasked
    )


def _withheld(r: Records, sender: str, content: JsonObject) -> bool:
    """https://spec.matrix.org/v1.16/client-server-api/#reporting-that-decryption-keys-are-withheld"""
    code, room_id, session_id = (text(content.get(name), WHY) for name in ("code", "room_id", "session_id"))
    if code == "m.no_olm":
        _mark_wedged(r, sender, content.get("sender_key"))
    elif code and room_id and session_id:
        save(r, WITHHELD, key(room_id, session_id), {"code": code, "by": sender})
        r.keep_newest(WITHHELD, MOST_WITHHELD)
    return False


def _mark_wedged(r: Records, user: str, curve25519: object) -> None:
    if isinstance(curve25519, str) and r.get(WEDGED, key(user, curve25519)) is None:
        save(r, WEDGED, key(user, curve25519), {"mended": False})
