"""Who may do what in a room, by its power levels: https://spec.matrix.org/v1.16/client-server-api/#mroompower_levels"""

from __future__ import annotations

from roommate.domain import JsonObject, RoomId
from roommate.matrix.parse import items, obj

STATE_DEFAULT = 50
CREATORS_SINCE = 12
"""The room version from which on creators stand above all levels, and tombstones come after the rooms they name."""


def may_replace(user: str, create: JsonObject, levels: JsonObject) -> bool:
    """May this user set the tombstone of a room? `create` is its ``m.room.create`` event, `levels` the content of its
    ``m.room.power_levels``, empty where there is none."""
    content = obj(create.get("content"))
    creators = [create.get("sender"), content.get("creator")]
    if _version(content) >= CREATORS_SINCE:
        creators = [create.get("sender"), *items(content.get("additional_creators"))]
        if user in creators:
            return True
    if not levels:
        return user in creators
    needed = obj(levels.get("events")).get("m.room.tombstone", levels.get("state_default", STATE_DEFAULT))
    return _level(obj(levels.get("users")).get(user, levels.get("users_default", 0)), 0) >= _level(needed, 100)


def replaces(create: JsonObject, old: RoomId, tombstone: str) -> bool:
    """Does a room say, with its ``m.room.create``, that it replaces `old`, which `tombstone` has ended?

    Before version 12 it names the tombstone; from then on it cannot, since it has to be there first.
    """
    content = obj(create.get("content"))
    before = obj(content.get("predecessor"))
    named = before.get("event_id")
    if before.get("room_id") != old:
        return False
    return named == tombstone if named is not None else _version(content) >= CREATORS_SINCE


def _version(content: JsonObject) -> int:
    version = str(content.get("room_version", "1"))
    return int(version) if version.isdecimal() else 0


def _level(value: object, otherwise: int) -> int:
    """Rooms of old versions have levels that are texts."""
    try:
        return int(value) if isinstance(value, int | str) else otherwise
    except ValueError:
        return otherwise
