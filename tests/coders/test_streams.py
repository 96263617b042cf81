"""The streams of the real CLIs (recorded against tests/fake_providers.py) and of hostile ones, read into our events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.coders.changes import change, subject
from roommate.coders.events import AgentEvent, Began, Called, Complained, Ended, Returned, Spoke
from roommate.coders.plans import PLANS, is_session
from roommate.words import Usage

SAMPLES = Path(__file__).parent / "samples"
NAMES = tuple(PLANS)


def read(agent: str, sample: str) -> list[AgentEvent]:
    lines = (SAMPLES / f"{agent}-{sample}.jsonl").read_text().splitlines()
    return [event for line in lines for event in PLANS[agent].read(json.loads(line))]


def spoken(events: list[AgentEvent]) -> str:
    return "".join(("" if event.more else "\n") + event.text for event in events if isinstance(event, Spoke)).strip()


@pytest.mark.parametrize("agent", NAMES)
def test_a_session_that_writes_a_file(agent: str) -> None:
    events = read(agent, "write")
    [session] = {event.session for event in events if isinstance(event, Began)}
    assert is_session(session)
    said = spoken(events)
    assert said.startswith("I will do it.")
    assert said.endswith("Done: write hello.txt. Prompts so far: 1.")
    [call] = [event for event in events if isinstance(event, Called)]
    assert "hello.txt" in call.subject
    [result] = [event for event in events if isinstance(event, Returned)]
    assert (result.id, result.ok) == (call.id, True)
    ends = [event for event in events if isinstance(event, Ended)]
    assert sum((end.usage for end in ends), Usage()) == Usage(200, 20)
    assert not any(end.error for end in ends)
    if agent != "codex":  # which writes with its shell
        assert call.subject == "hello.txt"
        assert call.change == "+some text"


@pytest.mark.parametrize("agent", NAMES)
def test_a_session_that_goes_on_and_runs_a_command_that_fails(agent: str) -> None:
    events = read(agent, "shell")
    [call] = [event for event in events if isinstance(event, Called)]
    assert "echo hi-from-shell; exit 3" in call.subject
    [result] = [event for event in events if isinstance(event, Returned)]
    assert "hi-from-shell" in result.text
    assert result.ok == (agent == "gemini"), "Gemini CLI does not tell that a command failed"
    assert spoken(events).endswith("Prompts so far: 2.")


@pytest.mark.parametrize(
    ("agent", "sample", "says"),
    [
        ("gemini", "error", "no such path"),
        ("claude", "error", "Connection refused"),
        ("claude", "lost", "No conversation found"),
    ],
)
def test_what_went_wrong_is_told(agent: str, sample: str, says: str) -> None:
    [end] = [event for event in read(agent, sample) if isinstance(event, Ended)]
    assert says in end.error


def test_a_codex_that_fails_and_changes_files() -> None:
    lines: list[dict[str, Any]] = [
        {"type": "error", "message": "Reconnecting..."},
        {"type": "item.completed", "item": {"id": "i", "type": "file_change", "status": "completed",
                                            "changes": [{"path": "/workspace/a.py", "kind": "add"}]}},
        {"type": "turn.failed", "error": {"message": "no model"}},
    ]  # fmt: skip
    events = [event for line in lines for event in PLANS["codex"].read(line)]
    assert events == [
        Complained("Reconnecting..."), Called("i.0", "add", "a.py"), Returned("i.0", True, ""),
        Ended(Usage(), "no model"),
    ]  # fmt: skip


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
sample_lines = sorted(
    {line for path in SAMPLES.glob("*.jsonl") for line in path.read_text().splitlines() if len(line) < 3000}
)


def broken(value: Any, path: list[int], put: Any) -> Any:
    """The value with something else at one place within."""
    if not path or not isinstance(value, dict | list) or not value:
        return put
    at, rest = path[0] % len(value), path[1:]
    if isinstance(value, list):
        return [broken(one, rest, put) if number == at else one for number, one in enumerate(value)]
    return {name: broken(one, rest, put) if number == at else one for number, (name, one) in enumerate(value.items())}


@given(
    st.sampled_from(NAMES),
    st.sampled_from(sample_lines),
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
    json_values,
)
def test_whatever_stands_at_any_place_is_read(agent: str, line: str, path: list[int], put: Any) -> None:
    for event in PLANS[agent].read(broken(json.loads(line), path, put)):
        repr(event).encode("ascii", "backslashreplace")
        for text in (getattr(event, name, "") for name in ("session", "text", "subject", "tool", "id", "error")):
            assert isinstance(text, str)


def test_what_a_call_is_about() -> None:
    assert subject({"description": "d", "file_path": "/workspace/src/a.py"}) == "src/a.py"
    assert subject({"command": "echo a\n  echo b"}) == "echo a echo b"
    assert subject({"command": ["no", "text"], "other": 1}) == ""


def test_what_a_call_changes() -> None:
    edit = {"file_path": "a", "old_string": "one\ntwo\nthree", "new_string": "one\n2\nthree"}
    assert change(edit) == " one\n-two\n+2\n three"
    assert change({"filePath": "a", "content": "x\ny\n"}) == "+x\n+y"
    assert change({"command": "rm a"}) == ""
    assert change({"file_path": "a", "content": "x\n" * 60_000}) == "(−0 +60000 lines)"
    long = change({"file_path": "a", "content": "x\n" * 100})
    assert long.endswith("… 60 more lines")


def test_a_session_is_a_word_that_no_command_takes_for_an_option() -> None:
    assert is_session("ses_e07733541ffeXgV11PdRpGItGf")
    for text in ("", "-x", "--resume", "a b", "a\n", "é", "x" * 101):
        assert not is_session(text)


@pytest.mark.parametrize("agent", NAMES)
def test_a_command_keeps_the_prompt_one_word_and_no_key_is_in_it(agent: str) -> None:
    plan = PLANS[agent]
    for session in ("", "abc"):
        command = plan.command("do $(it) --now", plan.model, session)
        assert command[0] == plan.program
        assert command[-1] == "do $(it) --now"
        assert (session in command) == bool(session)
    where = " ".join([*command, *plan.environment_of(plan.model).values()])
    assert f"http://127.0.0.1:8080/{plan.provider}+{plan.name}" in where
