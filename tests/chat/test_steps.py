"""What a coding agent does within a tool call, as people see it."""

from markdown_it import MarkdownIt

from roommate.chat.turn_view import View
from roommate.domain import ToolCall, ToolFinished, ToolResult, ToolStarted, ToolStep


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
