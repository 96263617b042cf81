"""The look of a turn follows from its events."""

import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from roommate.chat.step_view import label
from roommate.chat.turn_view import LIVE_CALLS, LIVE_RUNNING, LIVE_TEXT, View, hook_notice
from roommate.domain import (
    Event,
    HookEvent,
    HookKind,
    Note,
    Said,
    Spent,
    TextDelta,
    TextDropped,
    Thinking,
    ToolCall,
    ToolFinished,
    ToolOutput,
    ToolResult,
    ToolStarted,
    Usage,
)
from roommate.text.printable import block, plain, span

CALL = ToolCall("c1", "run_command", '{"command": "pytest -q"}')


def seen(*events: Event) -> View:
    view = View(0)
    for event in events:
        view.apply(event)
    return view


def test_streamed_text_is_shown_and_a_dropped_reply_is_not() -> None:
    view = seen(TextDelta("Hel"), TextDelta("lo"))
    assert "Hello" in view.live(1)
    view.apply(TextDropped("the provider was busy"))
    assert "Hello" not in view.live(1)
    assert "the provider was busy" in view.live(1)


def test_a_note_that_is_told_again_with_other_numbers_is_one_line() -> None:
    view = seen(Note("It is busy. I ask again in 30 s."), Note("It is busy. I ask again in 31 s."), Note("resumed"))
    assert "30 s" not in view.live(1)
    assert "I ask again in 31 s.\nℹ️ resumed" in view.live(1)


def test_a_tool_shows_its_command_its_output_while_it_runs_and_how_it_ended() -> None:
    view = seen(Said("I look."), ToolStarted(CALL, "pytest -q"), ToolOutput("c1", "collecting\n"))
    assert "▶ **run_command** `pytest -q`" in view.live(2)
    assert "collecting" in view.live(2)
    view.apply(ToolFinished(ToolResult("c1", "…", title="exit 0 · 1.2 s")))
    assert "✔ **run_command** `pytest -q` — exit 0 · 1.2 s" in view.live(3)
    assert "collecting" not in view.live(3)
    gone = ToolResult("c1", "…", ok=False, title="a.py: no such file")
    assert "✘ **run_command** `a.py` — no such file" in seen(ToolStarted(CALL, "a.py"), ToolFinished(gone)).live(1)


def test_the_end_sums_up_and_does_not_repeat_the_answer() -> None:
    view = seen(Said("I look."), ToolStarted(CALL), ToolFinished(ToolResult("c1", "x", ok=False, title="exit 1")))
    view.apply(Spent(Usage(1000, 234, 0.01)))
    view.apply(Said("It fails."))
    details = view.details(4.25, answered=True)
    assert details is not None
    summary, steps = details
    assert summary == "1 step, **1 failed** · 4.2 s · 1\u2009234 tokens, $0.0100"
    assert "✘ **run_command**" in steps
    assert "I look." in steps
    assert "It fails." not in steps


def test_a_plain_answer_has_no_details_but_a_note_is_kept() -> None:
    assert seen(Said("Hi")).details(1, answered=True) is None
    details = seen(Note("resumed"), Said("Hi")).details(1, answered=True)
    assert details is not None
    assert "resumed" in details[1]


def test_a_long_text_shows_its_end() -> None:
    shown = seen(TextDelta("a" * LIVE_TEXT), TextDelta("the end")).live(1)
    assert shown.endswith("the end")
    assert len(shown) < LIVE_TEXT + 200


@given(st.text(), st.text())
def test_any_call_has_a_label_of_one_short_line(name: str, title: str) -> None:
    assert len(label(name.replace("\n", ""), title)) < 200


@given(st.text(st.sampled_from("`ab "), min_size=1, max_size=30).filter(str.strip))
def test_a_code_span_holds_any_backticks(text: str) -> None:
    [inline] = MarkdownIt().parseInline(span(text))
    assert inline.children is not None
    [code] = inline.children
    assert code.type == "code_inline"
    assert code.content.strip() == text.strip()


@given(st.text(st.sampled_from("`ab\n"), max_size=30))
def test_a_code_block_holds_any_fences(text: str) -> None:
    [code] = MarkdownIt().parse(block(text))
    assert code.type == "fence"
    assert code.content == text + "\n"


def hook(kind: HookKind = HookKind.PROGRESS, **fields: Any) -> HookEvent:
    return HookEvent(kind, "gemini", "s1", **fields)


def test_a_coding_agents_session_is_one_line_with_its_newest_calls() -> None:
    view = seen(hook(summary="session startup"))
    for number in range(10):
        view.apply(hook(tool="write_file", summary=f"f{number}"))
        view.apply(hook(tool="write_file", summary=f"f{number}", ok=number % 2 == 0, seconds=1.5, text="written"))
    shown = view.live(1)
    assert "▶ **gemini** · 10 calls" in shown
    assert shown.count("write_file") == LIVE_CALLS
    assert "✘ **write_file** `f9` — 1.5 s" in shown
    assert "f1`" not in shown
    view.apply(hook(HookKind.APPROVAL, tool="sh", summary="git push", text="push", asks="a"))
    assert "❓ **sh** `git push`" in view.live(1)
    view.apply(hook(HookKind.RESULT, ok=True, text="All files\nare there"))
    assert "✔ **gemini** · 11 calls — All files" in view.live(1)
    assert "write_file" not in view.live(1), "the step is closed"
    details = view.details(1, answered=False)
    assert details is not None
    assert "gemini" in details[1]


def test_calls_side_by_side_are_told_apart_and_a_failure_that_is_told_twice_is_one_call() -> None:
    view = seen(hook(tool="read", summary="a"), hook(tool="read", summary="b"))
    view.apply(hook(tool="read", summary="a", ok=True))
    assert "- ✔ **read** `a`\n- ▶ **read** `b`" in view.live(1)
    for _ in range(2):
        view.apply(hook(tool="read", summary="b", ok=False))
    assert "**gemini** · 2 calls" in view.live(1)
    view.apply(hook(tool="read", summary="b"))
    assert "**gemini** · 3 calls" in view.live(1), "it tries once more"


def test_what_a_stop_cut_short_does_not_look_as_if_it_ran() -> None:
    details = seen(ToolStarted(CALL, "pytest -q")).details(1, answered=False)
    assert details is not None
    assert details[1] == "⏹ **run_command** `pytest -q`"


def test_a_notification_is_a_line_and_two_agents_are_two() -> None:
    view = seen(hook(tool="a"), HookEvent(HookKind.PROGRESS, "qwen", "s2", "b"))
    view.apply(HookEvent(HookKind.NOTIFICATION, "qwen", "s2", summary="Title", text="look *here*"))
    shown = view.live(1)
    assert "**gemini**" in shown
    assert "**qwen** · 1 call" in shown
    assert "🔔 **qwen**: Title: look \\*here\\*" in shown


def test_a_result_says_how_it_ended() -> None:
    assert hook_notice(hook(HookKind.RESULT, text="Fine")) == "✔ **gemini** — Fine"
    assert hook_notice(hook(HookKind.RESULT, ok=False, exit_code=3)) == "✘ **gemini** — exit 3"
    assert hook_notice(hook(HookKind.RESULT)) == "✔ **gemini** is done"


@given(st.text(st.characters(exclude_characters="\x00")))
def test_a_strangers_text_means_nothing_in_markdown(text: str) -> None:
    inline = MarkdownIt("commonmark", {"html": False}).parseInline(f"x {plain(text)}")[0].children or []
    assert {token.type for token in inline} <= {"text", "text_special"}
    assert "".join(token.content for token in inline).split() == ["x", *text.split()]


def test_what_hooks_tell_in_a_turn_has_an_end() -> None:
    """A room may leave two hundred a second, for as long as a turn takes."""
    view = View(0.0)
    tracemalloc.start()
    for number in range(2000):
        view.apply(HookEvent(HookKind.NOTIFICATION, agent="gemini", text="n" * 4000))
        view.apply(HookEvent(HookKind.PROGRESS, agent="gemini", session=f"s{number}", tool="shell", text="p" * 4000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 << 20
    shown = view.live(0.0)
    assert "3990 more before" in shown and shown.count("▶ **gemini**") == LIVE_RUNNING


def test_thoughts_are_a_line_and_their_words_where_people_want_them() -> None:
    quiet, loud = View(0), View(0)
    loud.verbose = True
    for view in (quiet, loud):
        view.apply(Thinking("perhaps *this*\n"))
        view.apply(Thinking("or that"))
    assert "thinking" in quiet.live(1) and "perhaps" not in quiet.live(1)
    assert "> 💭 perhaps \\*this\\* or that" in loud.live(1)
    for view in (quiet, loud):
        view.apply(Said(""))
        view.apply(ToolStarted(ToolCall("a", "write_file", '{"path": "a.txt", "content": "one"}'), "a.txt"))
    assert "content" not in quiet.live(2)
    assert '"content": "one"' in loud.live(2)
    loud.apply(ToolFinished(ToolResult("a", "written", title="written")))
    loud.apply(Said("done"))
    details = loud.details(3, answered=True)
    assert details is not None
    for words in ("perhaps", '"content": "one"'):
        assert words in details[1]
    loud.apply(Thinking("x" * 100_000))
    assert len(loud.live(4)) < 10_000
