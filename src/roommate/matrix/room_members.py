"""Who is in a room: asked for once, then kept by what syncs tell, so that it is as true as what they bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roommate.domain import JsonObject, RoomId
from roommate.matrix import parse
from roommate.matrix.parse import obj


class RoomMembers:
    def __init__(self, ask: Callable[[RoomId], Awaitable[set[str]]]) -> None:
        """`ask` gives who has joined a room, as the homeserver has it. Raises MatrixError."""
        self._ask = ask
        self._known: dict[RoomId, set[str]] = {}
        self._changes = 0

    async def of(self, room_id: RoomId) -> set[str]:
        """Raises MatrixError."""
        while room_id not in self._known:
            before = self._changes
            members = await self._ask(room_id)
            if before == self._changes:  # else somebody may have come or gone meanwhile
                self._known[room_id] = members
        return set(self._known[room_id])

    def learn(self, answer: JsonObject) -> None:
        """What a sync tells, before anybody acts on it. Where there is a gap in it, it does not tell all."""
        rooms = obj(answer.get("rooms"))
        for room_id in obj(rooms.get("leave")):
            self._changes += 1
            self._known.pop(RoomId(room_id), None)
        for room_id, section in obj(rooms.get("join")).items():
            changes = [change for event in state_and_timeline(obj(section)) if (change := parse.membership(event))]
            gap = obj(obj(section).get("timeline")).get("limited") is True
            self._changes += bool(changes or gap)
            if gap:
                self._known.pop(RoomId(room_id), None)
            elif (known := self._known.get(RoomId(room_id))) is not None:
                for user, membership in changes:
                    (known.add if membership == "join" else known.discard)(user)


def state_and_timeline(section: JsonObject) -> list[object]:
    return [event for part in ("state", "timeline") for event in parse.items(obj(section.get(part)).get("events"))]
