"""Who is in a room, as far as it decides who is given keys: asked for once, then kept by what syncs tell."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from roommate.domain import JsonObject, RoomId
from roommate.matrix import parse
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.parse import obj


class RoomMembers:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[RoomId, set[str]] = {}
        self._changes = 0

    async def of(self, room_id: RoomId) -> set[str]:
        """Raises MatrixError."""
        while room_id not in self._known:
            before = self._changes
            path = f"/rooms/{quote(room_id, safe='')}/joined_members"
            answer = await self._ask.call("tell who is in the room", "GET", path)
            if before == self._changes:  # else somebody may have come or gone meanwhile
                self._known[room_id] = set(obj(answer.get("joined")))
        return set(self._known[room_id])

    def learn(self, room_id: RoomId, events: Iterable[object], *, gap: bool) -> None:
        """What a sync tells, in its order; with a gap in it, it does not tell all."""
        changes = [change for event in events if (change := parse.membership(event))]
        self._changes += bool(changes or gap)
        if gap:
            self._known.pop(room_id, None)
        if (known := self._known.get(room_id)) is None:
            return
        for user, membership in changes:
            (known.add if membership == "join" else known.discard)(user)

    def forget(self, room_id: RoomId) -> None:
        self._changes += 1
        self._known.pop(room_id, None)


def state_and_timeline(section: JsonObject) -> list[object]:
    return [event for part in ("state", "timeline") for event in parse.items(obj(section.get(part)).get("events"))]
