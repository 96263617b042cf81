"""What a coding agent does within a tool call, as people see it."""

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from roommate.chat.turn_view import DETAILS, View
from roommate.domain import (
    Event,
    Said,
    TextDelta,
    ToolCall,
    ToolFinished,
    ToolOutput,
    ToolResult,
    ToolStarted,
    ToolStep,
)


def test_steps_within_a_tool_are_seen_while_it_runs() -> None:
    view = View(0)
    view.apply(ToolStarted(ToolCall("1", "implement", "{}"), "a page"))
    for number in range(7):
        view.apply(ToolStep("1", f"k{number}", "run", f"step {number}"))
    view.apply(ToolStep("1", "k6", "write_file", "a.py", "+one\n-two", ok=True))
    view.apply(ToolStep("none", "x", "lost", "nowhere"))
    live = view.live(1)
    assert "▶ **implement** `a page`" in live
    assert "- ✔ **write_file** `a.py`" in live
    assert "```diff\n+one\n-two\n```" in live
    assert "step 2" in live
    assert "step 1" not in live
    assert "step 6" not in live
    assert "nowhere" not in live
    view.apply(ToolFinished(ToolResult("1", "text", title="gemini · 7 calls")))
    assert "a.py" not in view.live(2)
    assert "gemini · 7 calls" in view.live(2)


def test_what_a_stranger_names_means_nothing_in_markdown() -> None:
    view = View(0)
    view.apply(ToolStarted(ToolCall("1", "plan", "{}")))
    view.apply(ToolStep("1", "k", "**x**](http://evil)\n# y", "`a` <b>\n\nc", "```\n# not a heading\n```"))
    live = view.live(1)
    html = MarkdownIt().render(live)
    assert "<a " not in html
    assert "<h1" not in html
    assert "`` `a` <b> c ``" in live
    assert "````diff\n```\n# not a heading" in live


def command(number: int, *, ok: bool = True, text: str = "", name: str = "run_command") -> list[Event]:
    call = ToolCall(str(number), name, "{}")
    return [ToolStarted(call, f"step {number}"), ToolFinished(ToolResult(call.id, text, ok, "exit code 0"))]


def folded(*events: Event, stop: bool = False) -> tuple[View, str, str]:
    view = View(0)
    for event in events:
        view.apply(event)
    if stop:
        view.stop()
    summary, steps = view.details(3, answered=False) or ("", "")
    return view, summary, steps


def test_the_details_keep_diffs_and_the_end_of_what_failed_and_of_the_last_command() -> None:
    edit = ToolResult("e", "edited", title="line 1: −1 +1", diff="-one\n+1")
    failed = "\n".join(f"line {number}" for number in range(50)) + "\n[exit code 1 · 0.1 s]"
    _, summary, steps = folded(
        *command(1, text="quiet\n[exit code 0 · 0.1 s]"),
        *command(2, ok=False, text=failed),
        ToolStarted(ToolCall("e", "edit_file", "{}"), "a.py"),
        ToolFinished(edit),
        *command(3, text="all is well\n[exit code 0 · 0.1 s]"),
    )
    assert summary == "4 steps, **1 failed** · 3.0 s"
    assert "quiet" not in steps, "of what worked, only the last says more than how it ended"
    assert "✘ **run_command** `step 2` — exit code 0\n\n```\nline 38\n" in steps
    assert "line 49\n```" in steps and "line 37" not in steps
    assert "✔ **edit_file** `a.py` — line 1: −1 +1\n\n```diff\n-one\n+1\n```" in steps
    assert "```\nall is well\n```" in steps
    assert "[exit code" not in steps


def test_what_has_nothing_to_show_is_one_compact_list() -> None:
    _, _, steps = folded(
        *(event for number in range(5) for event in command(number, text="(no output)\n[exit code 0]"))
    )
    assert len(steps.splitlines()) == 5


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=3000), st.integers(0, 60)), max_size=40))
def test_details_are_bounded_and_keep_the_newest(made: list[tuple[bool, str, int]]) -> None:
    events: list[Event] = []
    for number, (ok, text, lines) in enumerate(made):
        events += [Said(f"I do {number} now." * lines), *command(number, ok=ok, text=text)]
    _, _, steps = folded(*events)
    assert len(steps) <= DETAILS + 100
    if made:
        assert f"step {len(made) - 1}" in steps


def test_a_stop_keeps_what_was_printed_and_said() -> None:
    call = ToolCall("c", "run_command", "{}")
    view = View(0)
    for event in (ToolStarted(call, "make"), ToolOutput("c", "compiling a\ncompiling b\n"), TextDelta("I wait")):
        view.apply(event)
    [result] = view.stop()
    assert (result.call_id, result.ok, result.title) == ("c", False, "stopped")
    assert result.text.startswith("compiling a\ncompiling b\n[stopped")
    summary, steps = view.details(3, answered=False) or ("", "")
    assert summary == "1 step · 3.0 s", "to be stopped is not to fail"
    assert "⏹ **run_command** `make` — stopped\n\n```\ncompiling a\ncompiling b\n```" in steps
    assert "I wait" in steps


def test_the_running_step_stays_in_sight() -> None:
    view, _, _ = folded(*(event for number in range(12) for event in command(number, text="x")))
    view.apply(ToolStarted(ToolCall("r", "run_command", "{}"), "the long one"))
    view.apply(ToolOutput("r", "working hard"))
    live = view.live(5)
    assert "8 more before" in live
    assert live.count("✔") == 4
    assert "step 7" not in live and "step 8" in live
    assert len(live.partition("▶")[0].splitlines()) == 5, "a compact list"
    assert live.endswith("▶ **run_command** `the long one`\n\n```\nworking hard\n```")
