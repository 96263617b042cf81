"""The streams of the real CLIs (recorded against tests/fake_providers.py) and of hostile ones, read into our events."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roommate.domain import Usage
from roommate.features.coding_agents.agent_clis import AGENT_CLIS, is_session
from roommate.features.coding_agents.events import AgentEvent, Began, Called, Complained, Ended, Returned, Spoke
from roommate.features.coding_agents.json_lines import LONGEST, Lines
from roommate.features.coding_agents.run_recorder import TRANSCRIPT, Account
from roommate.features.coding_agents.streams import MOST_PARTS
from roommate.features.coding_agents.tool_changes import change, subject

SAMPLES = Path(__file__).parent / "samples"
NAMES = tuple(AGENT_CLIS)


def read(agent: str, sample: str) -> list[AgentEvent]:
    lines = (SAMPLES / f"{agent}-{sample}.jsonl").read_text().splitlines()
    return [event for line in lines for event in AGENT_CLIS[agent].read(json.loads(line))]


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
    events = [event for line in lines for event in AGENT_CLIS["codex"].read(line)]
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
    for event in AGENT_CLIS[agent].read(broken(json.loads(line), path, put)):
        repr(event).encode("ascii", "backslashreplace")
        for text in (getattr(event, name, "") for name in ("session", "text", "subject", "tool", "id", "error")):
            assert isinstance(text, str)


def heard(agent: str, pieces: list[bytes]) -> tuple[list[AgentEvent], Lines, Account]:
    """What comes of a stream, whatever pieces it comes in."""
    lines, account, events = Lines(), Account("c1", lambda event: None), list[AgentEvent]()
    for read in (*(lines.feed(piece) for piece in pieces), lines.end()):
        for line in read:
            for event in AGENT_CLIS[agent].read(line):
                events.append(event)
                account.take(event)
    return events, lines, account


stream_lines = st.one_of(
    st.sampled_from(sample_lines).map(str.encode),
    st.builds(
        lambda line, path, put: json.dumps(broken(json.loads(line), path, put)).encode(),
        st.sampled_from(sample_lines),
        st.lists(st.integers(0, 30), min_size=1, max_size=5),
        json_values,
    ),
    st.binary(max_size=40),
    st.sampled_from(
        [b"[" * 5000, b'{"type":' * 3000, b'{"a":' + b"9" * 5000 + b"}", b'{"type":NaN}', b'"\\ud800"', b"{}"]
    ),
)


@settings(max_examples=200)
@given(st.sampled_from(NAMES), st.lists(stream_lines, max_size=6), st.lists(st.integers(0, 4000), max_size=6))
def test_a_stream_means_the_same_in_whatever_pieces_it_comes(agent: str, lines: list[bytes], cuts: list[int]) -> None:
    stream = b"\n".join(lines)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    events, read, account = heard(agent, [stream[one:next_] for one, next_ in itertools.pairwise(places)])
    whole, read_whole, _ = heard(agent, [stream])
    assert events == whole and read.left_out == read_whole.left_out
    for text in (account.answer, account.transcript, account.error, account.complaint, *account.changed):
        text.encode()
    assert max(map(len, (account.error, account.complaint))) <= 10_000


HOSTILE = {
    "nothing but lists": b"[[]," + b"[]," * 200_000 + b"0]",
    "nothing but objects": b'{"a":[' + b"{}," * 200_000 + b"0]}",
    "strings of commas": b'{"a":[' + b'",",' * 100_000 + b"0]}",
    "a message of many parts": json.dumps(
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "x"}] * 50_000}}
    ).encode(),
    "longer than a line may be": b'{"a":"' + b"x" * LONGEST + b'"}',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_line_that_is_to_cost_much_is_left_out_and_the_next_is_read(line: bytes) -> None:
    after = b'{"type":"assistant","message":{"content":[{"type":"text","text":"after"}]}}'
    pieces = [line[at : at + (1 << 16)] for at in range(0, len(line), 1 << 16)]
    events, lines, _ = heard("claude", [*pieces, b"\n", after, b"\n"])
    assert (events, lines.left_out) == ([Spoke("after")], 1)


def test_a_line_with_a_string_that_has_no_end_is_looked_at_once() -> None:
    """At each quote of it anew holds up all rooms for minutes."""
    began = time.thread_time()
    assert list(Lines().feed(b'{"a": "' + b'\\",' * 25_000 + b"\n")) == []
    assert time.thread_time() - began < 0.5


def test_a_long_text_is_read_whatever_stands_in_it() -> None:
    text = '[{,:"\\' * 20_000
    line = json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": text}] * 200}})
    short = json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})
    assert heard("claude", [f"{short}\n".encode()])[0] == [Spoke(text)]
    assert len(heard("claude", [line.encode() + b"\n"])[0]) <= MOST_PARTS


def test_what_is_kept_of_an_agent_has_an_end() -> None:
    account = Account("c1", lambda event: None)
    for number in range(3000):
        account.take(Called(f"{number}" + "i" * 10_000, "Edit", f"{number}.py", "+x"))
    account.take(Complained("c" * 100_000))
    account.take(Ended(Usage(), "e" * 100_000))
    account.take(Returned("0" + "i" * 10_000, True, ""))
    tracemalloc.start()
    for _ in range(20_000):
        account.take(Spoke("x" * 300))
        account.take(Called("again", "Edit", "again.py", "+x" * 100))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3 * TRANSCRIPT
    assert len(account.changed) <= 1000 and len(account.error) == len(account.complaint) == 10_000
    assert account.transcript.endswith("(The rest is left out.)\n")


def test_what_a_call_is_about() -> None:
    assert subject({"description": "d", "file_path": "/workspace/src/a.py"}) == "src/a.py"
    assert subject({"command": "echo a\n  echo b"}) == "echo a echo b"
    assert subject({"command": ["no", "text"], "other": 1}) == ""


def test_what_a_call_changes() -> None:
    edit = {"file_path": "a", "old_string": "one\ntwo\nthree", "new_string": "one\n2\nthree"}
    assert change(edit) == " one\n-two\n+2\n three"
    assert change({"filePath": "a", "content": "x\ny\n"}) == "+x\n+y"
    assert change({"command": "rm a"}) == ""
    lines = [f"{number}" for number in range(5000)]
    changed = [*lines[:2500], "new", *lines[2501:]]
    assert change({"path": "a", "old_string": "\n".join(lines), "new_string": "\n".join(changed)}) == (
        " 2499\n-2500\n+new\n 2501"
    ), "however long it is"
    twisted = ["\n".join(str(number * times % 121) for number in range(12_000)) for times in (1, 7)]
    assert change({"path": "a", "old_string": twisted[0], "new_string": twisted[1]}) == "(−12000 +12000 lines)"
    assert change({"file_path": "a", "content": "x\n" * 60_000}) == "(−0 +60000 lines)"
    long = change({"file_path": "a", "content": "x\n" * 100})
    assert long.endswith("… 60 more lines")


def test_a_session_is_a_word_that_no_command_takes_for_an_option() -> None:
    assert is_session("ses_e07733541ffeXgV11PdRpGItGf")
    for text in ("", "-x", "--resume", "a b", "a\n", "é", "x" * 101):
        assert not is_session(text)


@pytest.mark.parametrize("agent", NAMES)
def test_a_command_keeps_the_prompt_one_word_and_no_key_is_in_it(agent: str) -> None:
    plan = AGENT_CLIS[agent]
    for session in ("", "abc"):
        command = plan.command("do $(it) --now", plan.model, session)
        assert command[0] == plan.program
        assert command[-1] == "do $(it) --now"
        assert (session in command) == bool(session)
    where = " ".join([*command, *plan.environment_of(plan.model).values()])
    assert f"http://127.0.0.1:8080/{plan.provider}+{plan.name}" in where
