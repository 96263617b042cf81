"""What people are called in a room, for all that people read; who may do what goes by their ids."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from roommate.domain import RoomId
from roommate.errors import MatrixError
from roommate.host import deadlines
from roommate.text.printable import HIDDEN, one_line, plain

FRESH_SECONDS = 60.0
"""How long the names of a room are taken to be as they were."""
LONGEST_WAIT = 1.0
"""Seconds: a text waits no longer for a name."""
MOST_ROOMS = 500
LONGEST = 40
"""Characters of a name that are shown."""


@dataclass(frozen=True, slots=True)
class _Room:
    names: Mapping[str, str]
    asked_at: float


class DisplayNames:
    """Of the members of rooms. `ask` gives them with what they call themselves; raises MatrixError."""

    def __init__(
        self, ask: Callable[[RoomId], Awaitable[Mapping[str, str]]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._now = ask, now
        self._rooms: dict[RoomId, _Room] = {}

    async def of(self, room_id: RoomId, who: str) -> str:
        """One line of Markdown, in which a name means nothing but itself. Two who go by one name have their ids behind
        it; who is no member, or cannot be asked about, is called as `who` says."""
        known = self._rooms.get(room_id)
        if not who.startswith("@"):
            return who
        if known is None or self._now() - known.asked_at > FRESH_SECONDS:
            try:
                async with deadlines.within(LONGEST_WAIT):
                    known = _Room(told_apart(await self._ask(room_id)), self._now())
            except (MatrixError, TimeoutError):
                known = known or _Room({}, self._now())
            self._rooms.pop(room_id, None)
            self._rooms[room_id] = known
            if len(self._rooms) > MOST_ROOMS:
                del self._rooms[next(iter(self._rooms))]
        return plain(name) if (name := known.names.get(who)) else who


def told_apart(members: Mapping[str, str]) -> dict[str, str]:
    """What to call each. A name that could be taken for somebody's id, or that nobody sees, is none."""
    shown = {user: one_line(name.replace(HIDDEN, ""), LONGEST) for user, name in members.items()}
    shown = {user: name for user, name in shown.items() if name.strip(HIDDEN + " ") and "@" not in name}
    times = Counter(name.casefold() for name in shown.values())
    return {user: name if times[name.casefold()] == 1 else f"{name} ({user})" for user, name in shown.items()}
