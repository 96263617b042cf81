"""What the homeserver lets the account send, as far as its refusals (HTTP 429) have taught us."""

from __future__ import annotations

import math

BURST = 10.0
"""Events that may go at once after a rest. Synapse's default; a wrong guess costs one refusal."""
RESERVE = 4.0
"""What progress leaves for answers: the beginning and the end of two turns."""
FLOOR = 2.0
"""What it leaves at any rate: below the reserve it goes on, seldomer the less is left, so that it does not stand still
where others are answered all the time."""
BEAT_RESERVE = 6.0
"""What a look that shows only that a turn goes on leaves, for others' progress, too."""
SHOW_EVERY = 0.35
"""Seconds between two looks of one live message where no limit holds them up."""
PROBE_AFTER = 60.0
PROBES = 3
SHORTEST, LONGEST = 0.1, 30.0
MARGIN = 0.02


class Bucket:
    """A token bucket. Times are seconds of one monotonic clock; ``pace`` is seconds per token, 0 for no limit known.

    Without a known limit everything may go. A refusal says when the next token comes: until then nothing goes. One that
    follows another, without a whole burst in between, teaches the pace: the longest such wait. From then on nothing is
    asked in vain. A refusal that stays alone, whatever it says, teaches nothing. The last token is spent by one at a
    time, so that nobody else takes it while the most urgent one is being refused. When a minute has passed without a
    refusal, what must arrive is tried beyond the bucket: a limit that an admin has lifted is noticed.

    Every `spend` is followed by one of `accepted`, `refused` and `unanswered`.
    """

    def __init__(self, pace: float, now: float) -> None:
        self.pace = pace if pace >= SHORTEST else 0.0  # as it is learned
        self._tokens = BURST
        self._at = now
        self._closed_until = now
        self._accepted_at = -math.inf
        self._spared_at = -math.inf
        self._refused_at = now - PROBE_AFTER
        self._doubtful = False
        self._probing = False
        self._surplus = 0
        self._first_refused_at = now
        self._let_through: float = math.inf
        """How many were let through since the last refusal."""

    def wait(self, now: float) -> float:
        """Seconds until something that must arrive may go; 0 for now, infinite until an answer has come."""
        if self._doubtful:
            return math.inf
        missing = 1 - self._level(now)
        if missing <= 1e-6 or now - self._refused_at >= PROBE_AFTER:
            return self._closed(now)
        return max(self._closed(now), missing * self.pace)

    def wait_for_sign(self, now: float, since: float) -> float:
        """Seconds until a sign that has waited since then may go: later as the bucket empties, for of a turn that is
        soon answered nobody needs one."""
        return max(self._wait_to_spare(now), since + self._slowed(0.0, now) - now)

    def wait_for_backlog(self, now: float) -> float:
        """Seconds until something may go that must arrive, but is so old that what is new comes first."""
        probes = now - self._refused_at >= PROBE_AFTER
        if probes or self._doubtful:
            return self.wait(now)
        return max(self._closed(now), (RESERVE - self._level(now)) * self.pace)

    def wait_to_show(self, now: float, shown_at: float) -> float:
        """Seconds until a live message last shown at `shown_at` may be shown again: seldomer as the bucket empties."""
        return max(self._wait_to_spare(now), shown_at + self._slowed(SHOW_EVERY, now) - now)

    def wait_for_beat(self, now: float) -> float:
        """Seconds until a live message may be shown that has nothing new: what has goes first."""
        return max(self._closed(now), (BEAT_RESERVE + 1 - self._level(now)) * self.pace)

    def spend(self, now: float, *, spare: bool = False) -> None:
        """An event is being sent; a `spare` one is good to see, but need not arrive."""
        level = self._level(now)
        self._spared_at = now if spare else self._spared_at
        self._doubtful, self._probing = level < 2, level < 1 - 1e-6
        self._tokens, self._at = max(0.0, level - 1), now

    def accepted(self, now: float) -> bool:
        """Something was let through. True when this shows that the limit is no more: pace 0."""
        self._accepted_at = now
        self._let_through += 1
        self._surplus += self._probing
        self._doubtful = self._probing = False
        if not self.pace or self._surplus < PROBES:
            return False
        self.pace, self._surplus = 0.0, 0
        return True

    def refused(self, asked_at: float, retry_after: float, now: float) -> bool:
        """What was sent at `asked_at` was refused. True when ``pace`` was learned anew, as is worth keeping."""
        # From one token to the next is a pace; this is no more than that, however slow the homeserver is. (Much longer,
        # and somebody else has used this account.)
        apart = asked_at + retry_after - self._accepted_at
        retry_after = min(max(retry_after, SHORTEST), LONGEST)
        if self._let_through >= BURST:
            self._first_refused_at = now
        # What was asked before the first refusal came is refused for the same reason.
        again = asked_at >= self._first_refused_at and self._let_through < BURST
        self._doubtful, self._surplus, self._refused_at, self._let_through = False, 0, now, 0
        self._closed_until = max(self._closed_until, asked_at + retry_after + MARGIN)
        before = self.pace
        if again:
            self.pace = max(self.pace, retry_after)
            if apart < 2 * self.pace:
                self.pace = max(self.pace, apart)
        if self.pace:
            self._tokens, self._at = 1 - self._closed(now) / self.pace, now
        return self.pace > before * 1.02

    def unanswered(self) -> None:
        """It failed for another reason."""
        self._doubtful = self._probing = False

    def _wait_to_spare(self, now: float) -> float:
        """Seconds until there is something for what need not arrive."""
        level = self._level(now)
        above = (RESERVE + 1 - level) * self.pace
        # At `level` one goes every RESERVE + 2 - `level` paces; while it waits the bucket fills.
        slow = (self._spared_at - now + (RESERVE + 2 - level) * self.pace) / 2
        return max(self._closed(now), min(above, max(slow, (FLOOR + 1 - level) * self.pace)))

    def _slowed(self, seconds: float, now: float) -> float:
        """From so many where the bucket is full to a pace where no more than the reserve is left."""
        full = min(1.0, max(0.0, (self._level(now) - RESERVE) / (BURST - RESERVE)))
        return seconds + max(0.0, self.pace - seconds) * (1 - full)

    def _closed(self, now: float) -> float:
        return max(0.0, self._closed_until - now)

    def _level(self, now: float) -> float:
        return min(BURST, self._tokens + (now - self._at) / self.pace) if self.pace else BURST
