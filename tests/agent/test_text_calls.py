"""Calls that a model wrote as text are taken as calls; what only looks like one stays text."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.text_calls import calls_in
from roommate.domain import ToolCall
from tests.agent.conversations import objects

NAMES = ("run_command", "read_file")
LS = '{"command": "ls"}'
SHORT = 1.0
"""Seconds of processor time; read for each beginning it is a hundred times as long."""


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('<tool_call>\n{"name": "run_command", "arguments": {"command": "ls"}}\n</tool_call>', ""),
        (
            'Let me look.\n<tool_call>{"name": "run_command", "arguments": "{\\"command\\": \\"ls\\"}"}</tool_call>',
            "Let me look.",
        ),
        ('<function=run_command>{"command": "ls"}</function>', ""),
        ('```json\n{"name": "run_command", "parameters": {"command": "ls"}}\n```', ""),
        ('{"name": "run_command", "arguments": {"command": "ls"}}', ""),
    ],
)
def test_the_usual_ways_of_writing_a_call(text: str, rest: str) -> None:
    assert calls_in(text, NAMES) == (rest, (ToolCall("", "run_command", LS),))


@pytest.mark.parametrize(
    "text",
    [
        "plain text",
        'For example:\n```json\n{"name": "run_command", "arguments": {"command": "ls"}}\n```',
        '<tool_call>{"name": "rm_rf", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "run_command", "arguments": {}</tool_call>',
        '{"name": "run_command", "version": "1.0", "arguments": {}}',
        '{"name": "run_command"}',
        "{" * 5000,
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert calls_in(text, NAMES) == (text, ())


@pytest.mark.parametrize(
    "begun", ["<tool_call>{", '<function=run_command>{"', "<tool_call>{}", "<function=run_command>{} "]
)
def test_calls_that_never_end_are_read_once(begun: str) -> None:
    """A small model that runs in a circle writes such: each beginning was looked through to the end, for minutes."""
    text = begun * (200_000 // len(begun))
    before = time.process_time()
    assert calls_in(text, NAMES) == (text, ())
    assert time.process_time() - before < SHORT


@given(objects, st.sampled_from(NAMES))
def test_arguments_come_out_as_they_went_in(arguments: dict[str, object], name: str) -> None:
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    rest, calls = calls_in(written, NAMES)
    assert (rest, [call.name for call in calls]) == ("", [name])
    assert json.loads(calls[0].arguments) == arguments


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    calls_in(text, NAMES)
    calls_in(f"<tool_call>{text}</tool_call>", NAMES)
