"""Raw Matrix events to our words: whatever JSON comes in, a value or None goes out, never an exception."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import unquote

from roommate.domain import (
    ANSWERS,
    CARD,
    MESH_INTRODUCTION,
    MESH_TYPES,
    PEER_REQUEST,
    TOLD,
    TURN,
    Answered,
    Arrived,
    Edit,
    EventId,
    Gone,
    Happening,
    Incoming,
    Invite,
    JsonObject,
    MeshEvent,
    Message,
    OwnMessage,
    Reaction,
    Redaction,
    RoomId,
    RoomState,
    SentFile,
    Tombstone,
    Unreadable,
    UserId,
)

MAX_TEXT = 64 * 1024
"""Bytes of UTF-8 that are kept of a text. No event is larger: https://spec.matrix.org/v1.13/client-server-api/#size-limits"""
MAX_NAME = 255
LONGEST_FILE_NAME = 2000
MAX_MENTIONS = 100

_WRITTEN = frozenset({"m.text", "m.emote"})
_ATTACHED = frozenset({"m.file", "m.image", "m.audio", "m.video"})
_VOICE = ("org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2", "m.voice")
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")
_UNFIT_FOR_ID = re.compile("[\0-\x20\x7f\ud800-\udfff]")
_QUOTE = re.compile(r"> (?:\* )?<@[^\n]*\n(?:>[^\n]*\n)*\n?")
_PILL = re.compile(r"""href\s*=\s*["']https?://matrix\.to/#/(?:@|%40)([^"'?/]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Me:
    """Who the bot is, as people may call it."""

    user_id: UserId
    display_name: str = ""


def incoming(room_id: RoomId, event: object, me: Me) -> Incoming | None:
    """An event of a room's timeline, None when it is nothing for us: a notice, a state event, garbage, most of our own.

    Notices are never for a bot: https://spec.matrix.org/v1.13/client-server-api/#mnotice
    """
    raw = obj(event)
    event_id, sender = _id(raw.get("event_id"), "$"), _id(raw.get("sender"), "@")
    if event_id is None or sender is None:
        return None
    if "state_key" in raw:
        new = _tombstone(raw)
        found = Tombstone(RoomId(new)) if new and new != room_id else _introduction(raw, me)
        return Incoming(EventId(event_id), room_id, UserId(sender), _time(raw), found) if found else None
    what = _own(raw) if sender == me.user_id else _happening(raw)
    return None if what is None else Incoming(EventId(event_id), room_id, UserId(sender), _time(raw), what)


def _introduction(raw: JsonObject, me: Me) -> MeshEvent | None:
    """Of another daemon, in its own name: nobody sets it for somebody else."""
    sender, content = raw.get("sender"), raw.get("content")
    own = raw.get("type") == MESH_INTRODUCTION and raw.get("state_key") == sender != me.user_id
    return MeshEvent(MESH_INTRODUCTION, content, str(sender)) if own and isinstance(content, dict) else None


def _tombstone(raw: JsonObject) -> str | None:
    """The room that replaces this one: https://spec.matrix.org/v1.16/client-server-api/#mroomtombstone"""
    if raw.get("type") != "m.room.tombstone" or raw.get("state_key") != "":
        return None
    return _id(obj(raw.get("content")).get("replacement_room"), "!")


def _happening(raw: JsonObject) -> Happening | None:
    content = obj(raw.get("content"))
    match raw.get("type"):
        case "m.room.message":
            return _message(content)
        case "m.room.encrypted":
            return Unreadable()
        case "m.reaction":
            relation = obj(content.get("m.relates_to"))
            target, key = _id(relation.get("event_id"), "$"), text(relation.get("key"), MAX_NAME)
            if relation.get("rel_type") == "m.annotation" and target and key:
                return Reaction(EventId(target), key)
        case str(kind) if kind in MESH_TYPES:
            return MeshEvent(kind, content)
        case "m.room.redaction":
            # Room versions before 11 have it at the top level, later ones in the content.
            if target := _id(content.get("redacts"), "$") or _id(raw.get("redacts"), "$"):
                return Redaction(EventId(target))
    return None


def _own(raw: JsonObject) -> Answered | OwnMessage | None:
    """What a message of the bot is to the one who sent it."""
    answered, content = _answered(raw), obj(raw.get("content"))
    if raw.get("type") != "m.room.message" or obj(content.get("m.relates_to")).get("rel_type") == "m.replace":
        return answered
    txn_id = text(obj(raw.get("unsigned")).get("transaction_id"), MAX_NAME) or ""
    return OwnMessage(txn_id, answered) if txn_id or CARD in content else answered


def _answered(raw: JsonObject) -> Answered | None:
    """What a message of the bot answers. While its turn runs only a live message's beginning says something."""
    content = obj(raw.get("content"))
    relation = obj(content.get("m.relates_to"))
    edited = _id(relation.get("event_id"), "$") if relation.get("rel_type") == "m.replace" else None
    edits = EventId(edited) if edited else None
    said = obj(content.get("m.new_content")) if edits else content
    turn = obj(said.get(TURN))
    to = _id(turn.get("prompt"), "$") or _id(said.get(ANSWERS), "$")
    if raw.get("type") != "m.room.message" or to is None:
        return None
    state = turn.get("state")
    if state == "running":
        return None if edits else Answered(EventId(to), runs=True)
    stop = text(state, MAX_NAME) or ""
    also = tuple(EventId(one) for raw_id in items(turn.get("also")) if (one := _id(raw_id, "$")))
    return Answered(EventId(to), text(said.get("body")) or "", stop, edits=edits, also=also)


def said(event: object) -> tuple[UserId, str, SentFile | None] | None:
    """Who wrote a message, be it the bot, and what it says with its newest edit; None for what is none."""
    raw = obj(event)
    sender, content = _id(raw.get("sender"), "@"), obj(raw.get("content"))
    if raw.get("type") != "m.room.message" or sender is None:
        return None
    edit = obj(obj(obj(raw.get("unsigned")).get("m.relations")).get("m.replace"))
    content = obj(obj(edit.get("content")).get("m.new_content")) or content
    if (body := text(content.get("body"))) is None:
        return None
    file = None
    if text(content.get("msgtype")) in _ATTACHED:
        file, body = _of_file(content, body)
    return UserId(sender), _without_quote(content, body), file


def is_encrypted(event: object) -> bool:
    """Is it an event of a timeline, with an id and a sender, that says nothing before it is decrypted?"""
    raw = obj(event)
    ids = _id(raw.get("event_id"), "$"), _id(raw.get("sender"), "@")
    return raw.get("type") == "m.room.encrypted" and "state_key" not in raw and None not in ids


def is_own_message(event: object, me: Me) -> bool:
    raw = obj(event)
    return raw.get("sender") == me.user_id and raw.get("type") == "m.room.message"


def _message(content: JsonObject) -> Message | Edit | None:
    relation = obj(content.get("m.relates_to"))
    if relation.get("rel_type") == "m.replace":
        target, new = _id(relation.get("event_id"), "$"), obj(content.get("m.new_content"))
        body, kind = text(new.get("body")), text(new.get("msgtype"))
        if kind in _ATTACHED and body is not None:
            body = _of_file(new, body)[1]
        elif kind not in _WRITTEN:
            return None
        return Edit(EventId(target), body) if target and body is not None else None
    body, kind = text(content.get("body")), text(content.get("msgtype"))
    if body is None or _is_shown_to_people(content):
        return None
    file = None
    if kind in _ATTACHED:
        file, body = _of_file(content, body)
    elif kind not in _WRITTEN:
        return None
    thread, reply_to = _relations(relation)
    body = _without_quote(content, body)
    return Message(body, thread, reply_to, _mentions(content), file)


def _is_shown_to_people(content: JsonObject) -> bool:
    """Does another daemon ask its people something with it, or show them how something goes? Nobody else is meant then,
    whatever it says. Its answers may be meant for us."""
    return not content.keys().isdisjoint((CARD, PEER_REQUEST, TOLD)) or obj(content.get(TURN)).get("state") == "running"


def _without_quote(content: JsonObject, body: str) -> str:
    """A reply without the lines that quote what it replies to, which clients before spec v1.13 put there."""
    reply = "m.in_reply_to" in obj(content.get("m.relates_to"))
    return _QUOTE.sub("", body, count=1) if reply and body.startswith(("> <@", "> * <@")) else body


def _of_file(content: JsonObject, body: str) -> tuple[SentFile, str]:
    """A file, and what is said of it: with a file name of its own the body is a caption, without it is the name.

    https://spec.matrix.org/v1.10/client-server-api/#media-captions
    """
    name = text(content.get("filename"), LONGEST_FILE_NAME) or text(body, LONGEST_FILE_NAME) or ""
    about, key = obj(content.get("info")), obj(content.get("file"))
    size = about.get("size")
    file = SentFile(
        name,
        text(key.get("url") if key else content.get("url"), 2 * MAX_NAME) or "",
        text(about.get("mimetype"), MAX_NAME) or "",
        size if isinstance(size, int) and _whole(size) else 0,
        voice=any(mark in content for mark in _VOICE),
        key=_decryption(key) if key else None,
    )
    return file, "" if name == text(body, LONGEST_FILE_NAME) else body


def _decryption(key: JsonObject) -> JsonObject:
    """What an ``EncryptedFile`` is decrypted with, and no more of it, for all of this is stored.

    https://spec.matrix.org/v1.16/client-server-api/#extensions-to-mroommessage-msgtypes
    """
    web_key, hashes = obj(key.get("key")), obj(key.get("hashes"))
    return {
        "v": text(key.get("v"), MAX_NAME),
        "key": {name: text(web_key.get(name), MAX_NAME) for name in ("alg", "k")},
        "iv": text(key.get("iv"), MAX_NAME),
        "hashes": {"sha256": text(hashes.get("sha256"), MAX_NAME)},
    }


def _relations(relation: JsonObject) -> tuple[EventId | None, EventId | None]:
    """Thread root and replied-to event. In a thread, a falling-back reply is only there for old clients."""
    root = _id(relation.get("event_id"), "$") if relation.get("rel_type") == "m.thread" else None
    reply = _id(obj(relation.get("m.in_reply_to")).get("event_id"), "$")
    if root and relation.get("is_falling_back") is True:
        reply = None
    return EventId(root) if root else None, EventId(reply) if reply else None


def _mentions(content: JsonObject) -> tuple[UserId, ...]:
    """Who is meant: ``m.mentions``; links to people where a client does not know that."""
    if isinstance(given := content.get("m.mentions"), dict):
        ids: Iterable[object] = items(given.get("user_ids"))
    else:
        rich = text(content.get("formatted_body")) or ""
        ids = (f"@{unquote(html.unescape(who))}" for who in _PILL.findall(rich))
    found = dict.fromkeys(user for one in ids if (user := _id(one, "@")))
    return tuple(UserId(user) for user in found)[:MAX_MENTIONS]


# ── The bot's own membership ─────────────────────────────────────────────────────────────────────


def own_membership(event: object, me: Me) -> str | None:
    """``join``, ``leave``, … when `event` CHANGED the bot's membership; None for a new name or picture of it too."""
    raw = obj(event)
    if raw.get("type") != "m.room.member" or raw.get("state_key") != me.user_id:
        return None
    membership = obj(raw.get("content")).get("membership")
    return membership if isinstance(membership, str) and membership != _membership_before(raw) else None


def membership(event: object) -> tuple[str, str] | None:
    """Of whom a member event is, and what it makes them."""
    raw = obj(event)
    user, now = _id(raw.get("state_key"), "@"), obj(raw.get("content")).get("membership")
    return (user, now) if raw.get("type") == "m.room.member" and user and isinstance(now, str) else None


def was_invited(event: object) -> bool:
    """Was there an invitation right before this member event, as far as the homeserver tells?"""
    return _membership_before(obj(event)) == "invite"


def arrived(room_id: RoomId, events: Iterable[object], me: Me, else_id: str) -> Incoming:
    """The bot is in; `events` is the timeline, which may hold its join. `else_id` names the fact where it does not."""
    join = _newest_own(events, me, {"join"})
    return Incoming(_event_id(join, else_id), room_id, me.user_id, _time(join), Arrived())


def gone(room_id: RoomId, events: Iterable[object], me: Me, else_id: str) -> Incoming:
    """The bot is out; `events` is what the room's ``leave`` section holds."""
    out = _newest_own(events, me, {"leave", "ban"})
    by = _id(out.get("sender"), "@") or me.user_id
    content = obj(out.get("content"))
    why = text(content.get("reason"), MAX_NAME)
    deed = "banned" if content.get("membership") == "ban" else "kicked"
    reason = "left" if by == me.user_id else f"{deed} by {by}" + (f": {why}" if why else "")
    return Incoming(_event_id(out, else_id), room_id, UserId(by), _time(out), Gone(reason))


def invite(room_id: RoomId, events: Iterable[object], me: Me, else_id: str) -> Incoming | None:
    """Who invites the bot. The events are stripped state, which need not have ids. None when nobody is named."""
    member = _newest_own(events, me, {"invite"})
    if (by := _id(member.get("sender"), "@")) is None:
        return None
    return Incoming(_event_id(member, else_id), room_id, UserId(by), _time(member), Invite())


def room_state(room_id: RoomId, membership: str, events: Iterable[object], summary: object = None) -> RoomState:
    """What state events, in order, and a sync's room summary say of a room."""
    joined = obj(summary).get("m.joined_member_count")
    encrypted, name = None, None
    for raw in map(obj, events):
        if raw.get("type") == "m.room.encryption" and "state_key" in raw:
            encrypted = True  # for good: a room cannot go back
        elif raw.get("type") == "m.room.name" and "state_key" in raw:
            name = text(obj(raw.get("content")).get("name"), MAX_NAME) or ""
    return RoomState(room_id, membership, joined if _whole(joined) else None, encrypted, name)


def _newest_own(events: Iterable[object], me: Me, memberships: set[str]) -> JsonObject:
    newest: JsonObject = {}
    for event in events:
        if own_membership(event, me) in memberships:
            newest = obj(event)
    return newest


def _membership_before(raw: JsonObject) -> object:
    unsigned = obj(raw.get("unsigned"))
    return obj(unsigned.get("prev_content") or raw.get("prev_content")).get("membership")


# ── JSON that may be anything ────────────────────────────────────────────────────────────────────


def obj(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def text(value: object, limit: int = MAX_TEXT) -> str | None:
    """A string that can be stored and sent on: cut to `limit` bytes, what UTF-8 or SQLite cannot hold replaced."""
    if not isinstance(value, str):
        return None
    cleaned = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value[:limit])
    return cleaned if len(cleaned) * 4 <= limit else cleaned.encode()[:limit].decode(errors="ignore")


def is_user_id(value: object) -> TypeGuard[str]:
    return _id(value, "@") is not None


def is_room_id(value: object) -> bool:
    return _id(value, "!") is not None


def _id(value: object, sigil: str) -> str | None:
    """An id as Matrix has them: ``$`` event, ``@`` user, ``!`` room; at most 255 bytes."""
    if not isinstance(value, str) or not value.startswith(sigil) or not 1 < len(value) <= MAX_NAME:
        return None
    return None if _UNFIT_FOR_ID.search(value) or (sigil == "@" and ":" not in value) else value


def _event_id(raw: JsonObject, else_id: str) -> EventId:
    return EventId(_id(raw.get("event_id"), "$") or else_id)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _time(raw: JsonObject) -> int:
    return milliseconds(raw.get("origin_server_ts"))


def milliseconds(value: object) -> int:
    """A time since 1970, 0 for what is none: an integer of any length may stand there."""
    return value if isinstance(value, int) and _whole(value) else 0
