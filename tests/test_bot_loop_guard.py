"""Who writes right behind each answer, for long and with nobody else's word in between, waits; a person does not."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import EventId, Message, Reaction, UserId
from roommate.rooms.bot_loop_guard import ALONE, MOST_THREADS, QUICK_SECONDS, WINDOW_SECONDS, BotLoopGuard
from roommate.store.said_lately import Said

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


Talk = st.lists(st.tuples(st.sampled_from((ECHO, ALICE)), st.sampled_from(("say", "!ping", "react")), st.floats(0, 90)))


@given(Talk, st.integers(0, 20))
def test_a_restart_goes_on_where_it_was(talk_of_both: list[tuple[UserId, str, float]], later: int) -> None:
    """A guard that is told what was stored knows what the one before knew."""
    clock = Clock()
    before, after, said = BotLoopGuard(lambda: LIMIT, clock), BotLoopGuard(lambda: LIMIT, clock), list[Said]()
    for who, how, pause in talk_of_both:
        clock.at += 1 + pause
        if how == "react":
            before.heard(who, commands=True)
            said.append(Said(who, Reaction(EventId("$1"), "👍"), None, None, waited=False, held=False))
            continue
        before.heard(who, commands=how == "!ping")
        message = Message(how)
        if how == "!ping":
            said.append(Said(who, message, None, None, waited=False, held=False))
        elif before.holds(None):
            said.append(Said(who, message, None, None, waited=True, held=False))
        elif before.stops(who, None, crowded=True):
            said.append(Said(who, message, None, None, waited=True, held=True))
        else:
            before.answered(None)
            said.append(Said(who, message, clock.at, clock.at, waited=False, held=False))
    after.recall(said, lambda message: message.text.startswith("!"))
    assert after.holds(None) == before.holds(None)
    clock.at += later
    assert after.stops(ECHO, None, crowded=True) == before.stops(ECHO, None, crowded=True)


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
