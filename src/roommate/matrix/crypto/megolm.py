"""Megolm: the events of rooms, each session written by one device and read by all who were given its key.

https://spec.matrix.org/v1.16/client-server-api/#mmegolmv1aes-sha2. Every function works within a transaction.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import vodozemac

from roommate.domain import JsonObject
from roommate.matrix.crypto import replay_guard, strangers
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.records import (
    BACKUP,
    DISPUTED,
    GONE,
    INBOUND,
    OUTBOUND,
    ROOM,
    SHARED,
    SHUNNED,
    UNSAVED,
    UNUSED,
    Records,
    key,
    load,
    save,
)

ROTATION_SECONDS = 7 * 86400.0
ROTATION_MESSAGES = 100
"""Where a room does not say: https://spec.matrix.org/v1.16/client-server-api/#mroomencryption"""


class NoKey(Exception):
    """The event is of a session that we were not given, or not from that event on."""


class Replayed(ValueError):
    """The step of the ratchet that it is of was used by another event."""


@dataclass(frozen=True, slots=True)
class Writing:
    """The session that is written with in a room."""

    session_id: str
    session_key: str
    """From its next event on."""


def keep_key(
    r: Records,
    pickle_key: bytes,
    room_id: str,
    session: Any,
    *,
    user: str,
    curve25519: str,
    ed25519: str,
    saved: bool = False,
    unasked: bool = False,
) -> bool:
    """Keep a room key that came from this user's device; one that begins earlier takes the place of the other.
    Gives whether something can be read now that could not be read before.

    Without a `user` it is of a backup that does not prove whose it is. `saved`: the backup has it. One that nobody
    has asked for, nor made here (`unasked`), may be of no use."""
    kind, name = INBOUND, key(room_id, session.session_id)
    if r.get(GONE, name) is not None:
        return False
    origin: JsonObject = {"user": user, "curve25519": curve25519, "ed25519": ed25519}
    if not user:
        origin["unproven"] = True
    earlier = True
    kept = load(r, INBOUND, name)
    if kept and user and kept["user"] not in ("", user):
        # Whoever has it may say that it is theirs, before its owner has.
        kind, name = DISPUTED, key(name, user)
        kept = load(r, DISPUTED, name)
    if kept:
        known = vodozemac.InboundGroupSession.from_pickle(kept["pickle"], pickle_key)
        earlier = session.first_known_index < known.first_known_index
        if user and "unproven" in kept:
            session = session if earlier else known
        elif user and (kept["user"], kept["curve25519"]) != (user, curve25519):
            return False  # somebody says that it is theirs
        elif not earlier:
            return False
        else:
            origin = kept
    save(r, kind, name, {**origin, "pickle": session.pickle(pickle_key)})
    if kept is None and unasked:
        strangers.unused(r, user, kind, name)
    if kind == INBOUND and not saved and r.get(BACKUP, "own") is not None:
        r.put(UNSAVED, name, "")
    return earlier


def decrypt(r: Records, pickle_key: bytes, room_id: str, event: JsonObject) -> JsonObject:
    """An event of a room as its sender meant it. Raises NoKey, and ValueError, KeyError or TypeError for an event that
    nobody will ever read: it is damaged, somebody else's, or it was there before; RecursionError where it is nested
    without end, which no homeserver sees."""
    content = event["content"]
    if content["algorithm"] != MEGOLM_ALGORITHM:
        raise ValueError("it is encrypted in a way that is not known here")
    session_id = content["session_id"]
    kind, name, steps = INBOUND, key(room_id, session_id), session_id
    if r.get(GONE, name) is not None:
        raise ValueError("its key was thrown away, since the room was left long ago")
    kept = load(r, INBOUND, name)
    if kept and kept["user"] not in ("", event["sender"]) and (theirs := load(r, DISPUTED, key(name, event["sender"]))):
        kind, name, steps, kept = DISPUTED, key(name, event["sender"]), key(session_id, event["sender"]), theirs
    if kept is None:
        raise NoKey(session_id)
    session = vodozemac.InboundGroupSession.from_pickle(kept["pickle"], pickle_key)
    message = vodozemac.MegolmMessage.from_base64(content["ciphertext"])
    if message.message_index() < session.first_known_index:
        raise NoKey(session_id)
    if kept["user"] not in ("", event["sender"]):
        raise ValueError("it is not by the one whose key it is encrypted with")
    found = session.decrypt(message)
    if not kept["user"]:
        save(r, INBOUND, name, {**kept, "user": event["sender"]})  # and nobody else's from now on
    if not replay_guard.is_first(r, pickle_key, steps, found.message_index, event["event_id"]):
        raise Replayed("it is an earlier event once more")
    if r.get(UNUSED, key(event["sender"], kind, name)) is not None:
        strangers.used(r, event["sender"], kind, name)
        strangers.met(r, event["sender"], kept["curve25519"])
    payload = json.loads(found.plaintext)
    if payload["room_id"] != room_id or not isinstance(payload["content"], dict):
        raise ValueError("it is of another room")
    inside = payload["content"]
    if "m.relates_to" in content and "m.relates_to" not in inside:
        inside = {**inside, "m.relates_to": content["m.relates_to"]}
    outside = {name: value for name, value in event.items() if name != "state_key"}
    return {**outside, "type": payload["type"], "content": inside}


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────


def writing(
    r: Records, pickle_key: bytes, own: OwnDevice, room_id: str, allowed: dict[tuple[str, str], str]
) -> Writing:
    """The session to write with, a new one where the old one is worn, or known to somebody who is not `allowed` to read
    any more. Those are (user, device), with their Curve25519 keys."""
    kept = load(r, OUTBOUND, room_id)
    if kept is not None:
        session = vodozemac.GroupSession.from_pickle(kept["pickle"], pickle_key)
        shared = shared_with(r, session.session_id)
        if not _is_worn(r, room_id, kept) and all(allowed.get(who) == curve for who, curve in shared.items()):
            return Writing(session.session_id, session.session_key.to_base64())
        for user, device in shared:
            r.drop(SHARED, key(session.session_id, user, device))
        for name, _ in r.all(SHUNNED, f"{session.session_id} "):
            r.drop(SHUNNED, name)
    session = vodozemac.GroupSession()
    found = Writing(session.session_id, session.session_key.to_base64())
    save(r, OUTBOUND, room_id, {"pickle": session.pickle(pickle_key), "since": time.time(), "events": 0})
    ours = vodozemac.InboundGroupSession(vodozemac.SessionKey(found.session_key))
    keep_key(r, pickle_key, room_id, ours, user=own.user_id, curve25519=own.curve25519, ed25519=own.ed25519)
    return found


def shared_with(r: Records, session_id: str) -> dict[tuple[str, str], str]:
    """(user, device) who have the key, or will by what is posted, with their Curve25519 keys."""
    found = {}
    for name, curve25519 in r.all(SHARED, f"{session_id} "):
        _, user, device = name.split(" ", 2)
        found[user, device] = curve25519
    return found


def encrypt(r: Records, pickle_key: bytes, own: OwnDevice, room_id: str, kind: str, content: JsonObject) -> JsonObject:
    """The content of an ``m.room.encrypted``. What it relates to stays in the open: homeservers and clients look
    there."""
    kept = load(r, OUTBOUND, room_id)
    assert kept is not None, "`writing` comes first"
    session = vodozemac.GroupSession.from_pickle(kept["pickle"], pickle_key)
    payload = {"room_id": room_id, "type": kind, "content": content}
    ciphertext = session.encrypt(json.dumps(payload, ensure_ascii=False).encode()).to_base64()
    save(r, OUTBOUND, room_id, {**kept, "pickle": session.pickle(pickle_key), "events": kept["events"] + 1})
    relation = {"m.relates_to": content["m.relates_to"]} if "m.relates_to" in content else {}
    return {
        "algorithm": MEGOLM_ALGORITHM,
        "sender_key": own.curve25519,
        "device_id": own.device_id,
        "session_id": session.session_id,
        "ciphertext": ciphertext,
        **relation,
    }


def _is_worn(r: Records, room_id: str, kept: JsonObject) -> bool:
    said = load(r, ROOM, room_id) or {}
    age, events = said.get("rotation_period_ms"), said.get("rotation_period_msgs")
    longest = int(ROTATION_SECONDS * 1000)
    seconds = (min(max(age, 3_600_000), longest) if isinstance(age, int) else longest) / 1000
    most = min(max(events, 1), 10_000) if isinstance(events, int) else ROTATION_MESSAGES
    return bool(kept["events"] >= most or not 0 <= time.time() - kept["since"] < seconds)
