"""Whatever is stored of a turn, what the model gets is valid."""

from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.history_repair import settled
from roommate.domain import Answer, Prompt, Step, ToolCall, ToolResult, UserId

ids = st.sampled_from(["a", "b", "c", "d"])
calls = st.lists(ids, unique=True, max_size=4).map(lambda names: tuple(ToolCall(name, "t", "{}") for name in names))
steps = st.lists(
    st.one_of(
        st.builds(Prompt, st.text(), st.just(UserId("@a:x"))),
        st.builds(Answer, st.text(), calls),
        st.builds(ToolResult, ids, st.text()),
    )
)


def is_valid(history: list[Step]) -> bool:
    open_calls: list[str] = []
    for step in history:
        if isinstance(step, ToolResult):
            if not open_calls or open_calls.pop(0) != step.call_id:
                return False
        elif open_calls:
            return False
        elif isinstance(step, Answer):
            open_calls = [call.id for call in step.calls]
    return not open_calls


@given(steps)
def test_every_call_has_its_result_behind_it_in_order(history: list[Step]) -> None:
    whole = settled(history, "missing")
    assert is_valid(whole)
    assert settled(whole, "missing") == whole
    assert [step for step in whole if not isinstance(step, ToolResult)] == [
        step for step in history if not isinstance(step, ToolResult)
    ]


@given(steps)
def test_a_valid_history_is_left_as_it_is(history: list[Step]) -> None:
    if is_valid(history):
        assert settled(history, "missing") == history


def test_results_come_in_the_order_of_the_calls_and_a_lost_one_says_so() -> None:
    answer = Answer("", (ToolCall("a", "t", "{}"), ToolCall("b", "t", "{}"), ToolCall("c", "t", "{}")))
    whole = settled([answer, ToolResult("c", "3"), ToolResult("a", "1")], "unknown")
    assert [step.text for step in whole if isinstance(step, ToolResult)] == ["1", "unknown", "3"]
