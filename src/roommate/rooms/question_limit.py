"""How much the programs in a room's container may ask its people: a thousand questions would bury all others."""

from __future__ import annotations

from collections import deque

OPEN, AN_HOUR = 3, 20


class QuestionLimit:
    """Of one room, for one kind of question."""

    def __init__(self) -> None:
        self._asked: deque[float] = deque()

    def take(self, standing: int, now: float) -> bool:
        """May one more be asked, where so many are not answered yet? Then it counts. `now` in seconds of any clock."""
        while self._asked and self._asked[0] < now - 3600:
            self._asked.popleft()
        if standing >= OPEN or len(self._asked) >= AN_HOUR:
            return False
        self._asked.append(now)
        return True
