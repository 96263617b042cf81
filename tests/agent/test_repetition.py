"""A turn that runs in a circle is seen, and nothing else is."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.history_repair import UNKNOWN
from roommate.agent.repetition import ROUNDS, repeated
from roommate.domain import Answer, Prompt, Step, ToolCall, ToolResult, UserId

PROMPT = Prompt("do it", UserId("@alice:hs"))


def rounds(*given: tuple[str, str], name: str = "read_file") -> list[Step]:
    """Of one call each: its arguments and its result."""
    steps: list[Step] = [PROMPT]
    for number, (arguments, text) in enumerate(given):
        call = ToolCall(f"call-{number}", name, arguments)
        steps += [Answer("", (call,)), ToolResult(call.id, text)]
    return steps


def test_the_same_three_times_is_a_circle_however_long_it_took() -> None:
    same = [("{}", f"no such file [exit code 1 · {took} s]") for took in (0.1, 2.5, 12)]
    assert not repeated(rounds(*same[:2]))
    assert [call.id for call in repeated(rounds(*same))] == ["call-2"]
    assert repeated(rounds(("a", "b"), *same))
    assert not repeated(rounds(*same, ("a", "b")))
    assert not repeated([*rounds(*same[:2]), *rounds(*same[2:])]), "somebody has said something"
    assert not repeated(rounds(*[('{"id": "1", "wait": 60}', "still running")] * 5)), "it waits"


def test_side_by_side_it_is_no_circle_and_their_order_means_nothing() -> None:
    def side_by_side(order: Sequence[str]) -> list[Step]:
        calls = tuple(ToolCall(path, "read_file", path) for path in order)
        return [Answer("", calls), *(ToolResult(call.id, "nothing") for call in calls)]

    assert not repeated([PROMPT, *side_by_side("aaa")])
    assert repeated([PROMPT, *side_by_side("ab"), *side_by_side("ba"), *side_by_side("ab")])


def test_what_a_restart_took_breaks_no_circle() -> None:
    same, lost = ("{}", "no such file"), ("{}", UNKNOWN)
    assert repeated(rounds(same, lost, same))
    assert repeated(rounds(lost, lost, lost)), "it ends the daemon"
    assert not repeated(rounds(same, lost, ("{}", "there it is")))
    assert not repeated(rounds(same, ("other", UNKNOWN), same))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=12))
def test_only_what_repeats_is_a_circle(given: list[tuple[str, str]]) -> None:
    circle = len(given) >= ROUNDS and len(set(given[-ROUNDS:])) == 1
    assert bool(repeated(rounds(*given))) == circle


def test_arguments_of_any_depth_are_read() -> None:
    assert repeated(rounds(*[("[" * 100_000, "the arguments are not valid JSON")] * ROUNDS))
