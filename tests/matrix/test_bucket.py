"""The bucket learns a homeserver's limit: tried against a homeserver's own arithmetic, on a clock of the test."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roommate.matrix.rate_limit import BURST, LONGEST, Bucket


class Server:
    """Counts as Synapse does: a leaky bucket of `burst` events that loses one every `pace` seconds."""

    def __init__(self, pace: float, burst: int) -> None:
        self.pace, self.burst = pace, burst
        self.level, self.at = 0.0, 0.0

    def ask(self, now: float) -> float:
        """Seconds to wait, 0 when it was let through."""
        if not self.pace:
            return 0.0
        self.level = max(0.0, self.level - (now - self.at) / self.pace)
        self.at = now
        if self.level > self.burst - 1:
            return (self.level - self.burst + 1) * self.pace
        self.level += 1
        return 0.0


def drive(bucket: Bucket, server: Server, events: int, now: float = 0.0) -> tuple[float, int]:
    """Send so many events as fast as the bucket lets us. Gives the time it is then, and how often we were refused."""
    sent = refusals = 0
    while sent < events:
        now += bucket.wait(now)
        bucket.spend(now)
        if wait := server.ask(now):
            refusals += 1
            bucket.refused(now, wait, now)
        else:
            sent += 1
            bucket.accepted(now)
        now += 0.02
    return now, refusals


def test_the_default_limit_of_synapse_is_learned() -> None:
    bucket, server = Bucket(0.0, 0.0), Server(5.0, 10)
    now, refusals = drive(bucket, server, 10)
    assert (now < 1, refusals) == (True, 0)
    now, refusals = drive(bucket, server, 20, now)
    assert 4.9 < bucket.pace < 5.01
    assert now < 105
    assert refusals <= 4  # the first two teach, one a minute probes


def test_a_slow_homeserver_is_not_taken_for_a_strict_one() -> None:
    bucket, server, chance = Bucket(0.0, 0.0), Server(5.0, 10), random.Random(7)
    now, refusals = 0.0, 0
    for _ in range(100):
        asked = now = now + bucket.wait(now) + 0.02
        bucket.spend(asked)
        wait = server.ask(now := now + chance.uniform(0, 1.5))
        now += chance.uniform(0, 1.5)
        if wait:
            refusals += 1
            bucket.refused(asked, wait, now)
        else:
            bucket.accepted(now)
    assert 3 < bucket.pace < 5.01
    assert refusals < 50


def test_a_remembered_pace_spares_the_first_refusals() -> None:
    _, refusals = drive(Bucket(5.0, 0.0), Server(5.0, 10), 15)
    assert refusals <= 1


def test_a_refusal_that_stays_alone_teaches_nothing() -> None:
    bucket, now = Bucket(0.0, 0.0), 0.0
    for _ in range(3):
        bucket.spend(now)
        assert not bucket.refused(now, 3600.0, now)
        assert 0 < bucket.wait(now) <= LONGEST + 1
        now, _ = drive(bucket, Server(0.0, 10), 12, now)
    assert bucket.pace == 0


def test_a_lifted_limit_is_noticed() -> None:
    bucket, server = Bucket(0.0, 0.0), Server(5.0, 10)
    now, _ = drive(bucket, server, 15)
    server.pace = 0.0
    now, refusals = drive(bucket, server, 100, now)
    assert (bucket.pace, refusals) == (0.0, 0)
    assert now < 160


def test_the_last_token_and_what_goes_beyond_is_spent_one_at_a_time() -> None:
    bucket = Bucket(5.0, 0.0)
    for _ in range(int(BURST)):
        assert bucket.wait(0.0) == 0
        bucket.spend(0.0)
    for _ in range(2):
        assert bucket.wait(0.0) == math.inf
        bucket.unanswered()
        assert bucket.wait(0.0) == 0
        bucket.spend(0.0)


def test_progress_leaves_a_reserve_for_answers() -> None:
    bucket, server = Bucket(5.0, 0.0), Server(5.0, 10)
    now, shown_at, shown = 0.0, -100.0, 0
    while now < 30:
        now += bucket.wait_to_show(now, shown_at)
        bucket.spend(now, spare=True)
        assert not server.ask(now)
        shown, shown_at = shown + 1, now
        bucket.accepted(now)
        # An answer and a sign can go at any moment.
        assert bucket.wait(now) == 0
    assert shown >= 10


@pytest.mark.parametrize("remembered", [0.0, 5.0])
def test_progress_does_not_stand_still_where_somebody_is_answered_all_the_time(remembered: float) -> None:
    """Every ten seconds a turn of half a second, which would have a sign; beside it something new to show always."""
    bucket, server = Bucket(remembered, 0.0), Server(5.0, 10)
    now, shown_at, answered, gaps = 0.0, 0.0, 0, list[float]()
    while now < 600:
        began = 10.0 * (answered + 1)
        answers = now >= began + 0.5 and bucket.wait(now) == 0
        signs = not answers and began <= now < began + 0.5 and bucket.wait_for_sign(now, began) <= 0
        shows = not answers and not signs and bucket.wait_to_show(now, shown_at) <= 0
        if answers or signs or shows:
            bucket.spend(now, spare=not answers)
            if wait := server.ask(now):
                bucket.refused(now, wait, now)
                assert now < 30, "and that is when it is learned"
            else:
                bucket.accepted(now)
                assert now < began + 0.6 or not answers, "no answer waits"
                answered += answers
                if shows:
                    gaps.append(now - shown_at)
                    shown_at = now
        now += 0.05
    assert max(gaps) < 25
    assert sorted(gaps)[-len(gaps) // 10] < 15


def test_progress_is_quick_where_no_limit_is_known() -> None:
    bucket = Bucket(0.0, 0.0)
    assert bucket.wait_to_show(10.0, 0.0) == 0
    assert 0.3 < bucket.wait_to_show(10.0, 10.0) < 0.4


@example(1.0, 1, [(0.0, 1), (0.0, 1)], 1e-309)
@given(
    st.floats(0, 20),
    st.integers(1, 30),
    st.lists(st.tuples(st.floats(0, 50), st.integers(1, 15)), max_size=8),
    st.floats(0, 20),
)
def test_nothing_waits_for_ever_and_few_are_refused(
    pace: float, burst: int, bursts: list[tuple[float, int]], remembered: float
) -> None:
    bucket, server, now = Bucket(remembered, 0.0), Server(pace, burst), 0.0
    for rest, events in bursts:
        began = now = now + rest
        now, refusals = drive(bucket, server, events, now)
        slowest = max(pace, remembered, 0.1) + 0.2
        assert now - began <= events * slowest + LONGEST
        assert refusals <= events + 2


def test_what_shows_only_that_a_turn_goes_on_gives_way_first() -> None:
    bucket = Bucket(pace=5.0, now=0.0)
    assert bucket.wait_for_beat(0.0) == 0
    for _ in range(4):
        bucket.spend(0.0)
        bucket.accepted(0.0)
    assert bucket.wait_for_sign(0.0, since=-5.0) <= 0 < bucket.wait_for_beat(0.0)
    assert Bucket(pace=0.0, now=0.0).wait_for_beat(0.0) == 0
