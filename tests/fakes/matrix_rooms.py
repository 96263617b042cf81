"""Rooms as a homeserver keeps them: events in one order, the state that they make, who may send what."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

LARGEST_EVENT = 65_536
"""Bytes: https://spec.matrix.org/v1.16/client-server-api/#size-limits"""
_LEVELS = {"ban": 50, "kick": 50, "redact": 50, "invite": 0}
_KEPT_OF_REDACTED = {"m.room.member": ("membership",), "m.room.create": ("creator",)}


class No(Exception):
    """The homeserver refuses: HTTP `status`, and the Matrix error as `answer`."""

    def __init__(self, status: int, errcode: str, error: str, **more: Any) -> None:
        super().__init__(f"{status} {errcode} {error}")
        self.status = status
        self.answer: JsonObject = {"errcode": errcode, "error": error, **more}


@dataclass(slots=True)
class Happened:
    """An event, at its place in the order of all that happens on the homeserver."""

    at: int
    event: JsonObject
    by: str = ""
    """The device and transaction id that it came with."""

    def shown_to(self, device: str) -> JsonObject:
        """As this device is given it."""
        owner, _, txn_id = self.by.partition("\0")
        if owner != device:
            return self.event
        return {**self.event, "unsigned": {**self.event["unsigned"], "transaction_id": txn_id}}


@dataclass(slots=True)
class Stay:
    """What somebody is to a room: `membership`, since when, and since when they have been in it, if they are."""

    membership: str
    since: int
    joined_at: int = 0
    event: JsonObject = field(default_factory=dict)


class Room:
    """One room. `add` is the only way in for events."""

    def __init__(self, room_id: str) -> None:
        self.id = room_id
        self.timeline: list[Happened] = []
        self.state: dict[tuple[str, str], JsonObject] = {}
        self.people: dict[str, Stay] = {}
        self.typing: set[str] = set()
        self.typed_at = 0
        self.newest = 0

    def add(
        self,
        at: int,
        sender: str,
        kind: str,
        content: JsonObject,
        *,
        state_key: str | None = None,
        redacts: str = "",
        by: str = "",
    ) -> JsonObject:
        """Put an event at the end, with all that follows from it."""
        event: JsonObject = {
            "type": kind,
            "room_id": self.id,
            "sender": sender,
            "content": content,
            "event_id": f"${secrets.token_urlsafe(32)}",
            "origin_server_ts": int(time.time() * 1000),
            "unsigned": {},
        }
        if len(json.dumps(event, ensure_ascii=False).encode()) > LARGEST_EVENT:
            raise No(413, "M_TOO_LARGE", "event too large")
        if redacts:
            event["redacts"] = redacts
            self._redact(redacts, event)
        if state_key is not None:
            event["state_key"] = state_key
            if before := self.state.get((kind, state_key)):
                event["unsigned"] = {"prev_content": before["content"], "replaces_state": before["event_id"]}
            self.state[kind, state_key] = event
            if kind == "m.room.member":
                self._seat(at, state_key, event)
        self.timeline.append(Happened(at, event, by))
        self.newest = at
        return event

    def event(self, event_id: str) -> JsonObject:
        for one in self.timeline:
            if one.event["event_id"] == event_id:
                return one.event
        raise No(404, "M_NOT_FOUND", "Event not found.")

    def is_in(self, user: str) -> bool:
        return user in self.people and self.people[user].membership == "join"

    @property
    def joined(self) -> list[str]:
        return [user for user, stay in self.people.items() if stay.membership == "join"]

    def content(self, kind: str, state_key: str = "") -> Mapping[str, Any]:
        """Of a state event; nothing where there is none."""
        content: JsonObject = self.state.get((kind, state_key), {}).get("content", {})
        return content

    def demand_presence(self, user: str) -> None:
        if not self.is_in(user):
            raise No(403, "M_FORBIDDEN", f"User {user} not in room {self.id}")

    def demand_power(self, user: str, what: str, kind: str = "") -> None:
        """`what` is a level's name, such as ``kick``, or ``state`` or ``events`` for a `kind` of event."""
        self.demand_presence(user)
        levels = self.content("m.room.power_levels")
        if what in _LEVELS:
            needed = levels.get(what, _LEVELS[what])
        else:
            needed = levels.get("events", {}).get(kind, levels.get(f"{what}_default", 50 if what == "state" else 0))
        if levels.get("users", {}).get(user, levels.get("users_default", 0)) < needed:
            raise No(403, "M_FORBIDDEN", f"You don't have permission to do that: {what} {kind}")

    def _seat(self, at: int, user: str, event: JsonObject) -> None:
        membership, before = event["content"]["membership"], self.people.get(user)
        if before is not None and before.membership == membership:
            before.event = event  # a new name
            return
        self.people[user] = Stay(membership, at, at if membership == "join" else 0, event)

    def _redact(self, event_id: str, because: JsonObject) -> None:
        for one in self.timeline:
            if one.event["event_id"] == event_id:
                kept = _KEPT_OF_REDACTED.get(one.event["type"], ())
                content = {key: value for key, value in one.event["content"].items() if key in kept}
                unsigned = {**one.event["unsigned"], "redacted_because": because}
                one.event = {**one.event, "content": content, "unsigned": unsigned}
                if "state_key" in one.event:
                    self.state[one.event["type"], one.event["state_key"]] = one.event
