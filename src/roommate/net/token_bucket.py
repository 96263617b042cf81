"""How much of something somebody may do: a token bucket."""

from __future__ import annotations


class Allowance:
    """A bucket of `burst` that `rate` a second flows into; how much may be done now. Times are of one clock."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left = float(burst)
        self._at = 0.0

    def take(self, wanted: int, now: float) -> int:
        """How much of `wanted` may be done; nothing is taken before `used` says so."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0, min(wanted, int(self._left)))

    def used(self, done: int) -> None:
        self._left -= done
