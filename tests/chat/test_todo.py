"""The list of what is planned and done: as the model writes it, and as people see it."""

from hypothesis import given
from hypothesis import strategies as st

from roommate.chat.turn_view import View
from roommate.domain import Mark, ToolCall, ToolFinished, ToolResult, ToolStarted, todo_items, todo_text

WRITTEN = ["[x] read", "- [X] ask", "2. [>] mend *it*", "test", "[ ] tell", "[-] sing", "[ ] rest", "[ ] sleep", " "]


def shown(view: View, text: str, *, ok: bool = True) -> None:
    view.apply(ToolStarted(ToolCall("1", "todo", "{}")))
    view.apply(ToolFinished(ToolResult("1", text, ok=ok)))


def test_marks_are_read_however_a_model_writes_them() -> None:
    marks = [item.mark for item in todo_items(WRITTEN)]
    assert "".join(marks) == "xx>  -  "
    assert [item.text for item in todo_items(WRITTEN)][2:4] == ["mend *it*", "test"]


@given(st.lists(st.text(max_size=20), max_size=8))
def test_what_is_written_is_read_again(lines: list[str]) -> None:
    items = todo_items(lines)
    assert todo_items(todo_text(items).splitlines()) == todo_items(
        todo_text(todo_items(todo_text(items).splitlines())).splitlines()
    )
    assert len(todo_text(items).split("\n")) == max(1, len(items))


def test_it_is_short_while_the_turn_runs_and_whole_in_the_end() -> None:
    view = View(0)
    shown(view, todo_text(todo_items(WRITTEN)))
    live = view.live(1).splitlines()
    assert "☑ *2 of 8 done*" in live
    assert live.index("▶ **mend \\*it\\***") < live.index("☐ test") < live.index("☐ rest")
    assert live[-1] == "☐ *1 more*"
    assert not any("read" in line for line in live), "what is done needs no room"
    shown(view, "no list", ok=False)
    details = view.details(2, answered=False)
    assert details is not None
    assert details[0] == "2.0 s", "it is no step of the work"
    assert [line.split()[0] for line in details[1].splitlines()] == ["☑", "☑", "▶", "☐", "☐", "☒", "☐", "☐"]
    assert Mark.DROPPED in {item.mark for item in todo_items(WRITTEN)}
