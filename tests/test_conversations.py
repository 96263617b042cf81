"""Who waits for a turn is served in turn: none has two while another one that could begin waits."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import EventId
from roommate.rooms.turns_side_by_side import Line, lined_up

ONE, TWO, LATE = EventId("$1"), EventId("$2"), EventId("$late")


def test_the_new_ones_stand_behind_by_age() -> None:
    line = lined_up({}, [TWO, None, ONE])
    assert list(line) == [TWO, None, ONE]
    line = lined_up(line, [LATE, None, TWO])
    assert list(line) == [TWO, None, LATE]


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=30),
    st.data(),
)
def test_none_has_two_turns_while_another_waits(arrivals: Sequence[Sequence[int]], data: st.DataObject) -> None:
    queue: list[int] = []
    line: Line = {}
    passed: dict[int, list[int]] = {}
    """Who had a turn since one began to wait for its next."""
    for arriving in arrivals:
        queue += arriving
        waiting = list(dict.fromkeys(queue))
        line = lined_up(line, [EventId(f"${one}") for one in waiting])
        assert len(line) == len(waiting)
        passed = {one: passed.get(one, []) for one in waiting}
        for thread in list(line)[: data.draw(st.integers(0, 4))]:
            served = int(f"{thread}"[1:])
            del line[thread]
            queue.remove(served)
            passed.pop(served)
            for others in passed.values():
                others.append(served)
        assert all(len(others) == len(set(others)) for others in passed.values())
