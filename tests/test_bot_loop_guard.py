"""Who writes right behind each answer, for long and with nobody else's word in between, waits; a person does not."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import EventId, UserId
from roommate.rooms.bot_loop_guard import ALONE, MOST_THREADS, QUICK_SECONDS, WINDOW_SECONDS, BotLoopGuard

ECHO, ALICE = UserId("@echo:hs"), UserId("@alice:hs")
LIMIT = 3


@dataclass
class Clock:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


def talk(guard: BotLoopGuard, clock: Clock, pause: float, times: int, *, crowded: bool = True) -> int:
    """How often they are answered before they wait."""
    for answered in range(times):
        clock.at += pause
        if guard.stops(ECHO, None, crowded=crowded):
            assert guard.holds(None)
            return answered
        guard.answered(None)
    return times


def test_who_is_as_quick_as_a_bot_waits_for_a_word() -> None:
    clock = Clock()
    guard = BotLoopGuard(lambda: LIMIT, clock)
    assert talk(guard, clock, 1, 100) == LIMIT
    guard.heard(ECHO)
    assert guard.holds(None), "its own word is none"
    guard.heard(ALICE)
    assert not guard.holds(None)
    assert talk(guard, clock, 1, 100) == LIMIT
    guard.heard(ECHO, commands=True)
    assert not guard.holds(None), "a bot gives no commands"
    assert talk(guard, clock, 1, 1000, crowded=False) == ALONE * LIMIT


@given(st.lists(st.floats(0, 3 * QUICK_SECONDS), max_size=60), st.integers(1, 9))
def test_in_an_hour_there_are_never_more_quick_answers_in_a_row_than_the_limit(pauses: list[float], limit: int) -> None:
    clock = Clock()
    guard = BotLoopGuard(lambda: limit, clock)
    answered, quick = 0.0, list[float]()
    for pause in pauses:
        clock.at += pause
        quick = [*quick, clock.at] if clock.at - answered <= QUICK_SECONDS else [clock.at]
        stopped = guard.stops(ECHO, None, crowded=True)
        assert stopped == (sum(clock.at - at <= WINDOW_SECONDS for at in quick) > limit)
        if stopped:
            return
        guard.answered(None)
        answered = clock.at


def test_a_person_takes_their_time_and_no_limit_is_none() -> None:
    clock = Clock()
    assert talk(BotLoopGuard(lambda: LIMIT, clock), clock, QUICK_SECONDS + 1, 100) == 100
    assert talk(BotLoopGuard(lambda: 0, clock), clock, 1, 100) == 100
    guard = BotLoopGuard(lambda: LIMIT, clock)
    for number in range(2 * MOST_THREADS):
        guard.stops(ECHO, EventId(f"${number}"), crowded=True)
    assert len(guard.talks) == MOST_THREADS
