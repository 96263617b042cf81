"""The hooks as the agents call them: real scripts, with the JSON that each agent really sends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from roommate.domain import HookEvent, HookKind
from roommate.features.hooks.file_names import kind_of
from roommate.features.hooks.parse import parse
from roommate.sandbox.agent_hooks import PROGRAMS, SETTINGS, lay_out, shipped

PAYLOADS = Path(__file__).parent / "payloads"
HOOK_OF: dict[str | None, str] = {
    "SessionStart": "session-start",
    **dict.fromkeys(("BeforeTool", "PreToolUse"), "before-tool"),
    **dict.fromkeys(("AfterTool", "PostToolUse", "PostToolUseFailure"), "after-tool"),
    **dict.fromkeys(("AfterAgent", "Stop"), "after-agent"),
    **dict.fromkeys(("Notification", None), "notification"),
}
AGENTS = ("gemini", "qwen", "claude", "codex")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for name in ("out", "in", "workspace"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hooks")
    lay_out(folder, os.getuid())
    return folder


def call(hooks: Path, spool: Path, agent: str, hook: str, payload: object, wait: str = "5", role: str = "") -> str:
    """What the agent is told."""
    said = payload if isinstance(payload, str) else json.dumps(payload)
    done = subprocess.run(
        [hooks / "wrapper", agent, hook],
        input=said.encode(),
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "ROOMMATE_SPOOL": str(spool),
            "ROOMMATE_WAIT": wait,
            "ROOMMATE_ROLE": role,
            "ROOMMATE_WORKSPACE": str(spool / "workspace"),
        },
        check=True,
        timeout=20,
    )
    assert done.stderr == b""
    return done.stdout.decode()


def written(spool: Path) -> list[HookEvent]:
    events = []
    for path in sorted((spool / "out").iterdir()):
        kind = kind_of(path.name)
        assert kind is not None, path.name
        assert json.loads(path.read_text())["kind"] == kind
        events.append(parse(kind, path.read_bytes()))
    return events


def payloads(agent: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PAYLOADS / f"{agent}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("agent", AGENTS)
def test_what_each_agent_says_becomes_our_words(hooks: Path, spool: Path, agent: str) -> None:
    for payload in payloads(agent):
        if hook := HOOK_OF.get(payload.get("hook_event_name")):
            assert call(hooks, spool, agent, hook, payload) == ""
    events = written(spool)
    assert {event.agent for event in events} == {agent}
    assert all(event.session for event in events)
    assert events[0].summary == "session startup"
    [result, *_] = [event for event in events if event.kind is HookKind.RESULT]
    assert "Done: the file was written." in result.text
    tools = [event for event in events if event.tool]
    assert any(event.ok is None and "hello.txt" in event.summary for event in tools), "before"
    assert any(event.ok and "hello.txt" in event.summary for event in tools), "after"
    assert not [event for event in events if event.kind is HookKind.NOTIFICATION], "the recorded ones are noise"
    if agent != "codex":
        assert any(event.ok and event.text == "hi-from-shell\n1000" for event in tools)
    if agent == "qwen":
        assert any(event.ok is False and "has not been read" in event.text for event in tools)
        assert any(event.exit_code == 0 and event.seconds == 0.012 for event in tools)


def test_geminis_last_words_are_those_of_its_transcript(hooks: Path, spool: Path, tmp_path: Path) -> None:
    transcript = tmp_path / "session.jsonl"
    ended = {"session_id": "s", "prompt_response": "Done. it is.", "transcript_path": str(transcript)}
    call(hooks, spool, "gemini", "after-agent", ended)
    lines = ('{"type":"gemini","content":"First."}', '{"type":"gemini","content":"Done: it is."}', '{"$set":{}}')
    transcript.write_text("\n".join(lines) + "\n")
    call(hooks, spool, "gemini", "after-agent", ended)
    assert [event.text for event in written(spool)] == ["Done. it is.", "Done: it is."]


def test_a_notification_is_told(hooks: Path, spool: Path) -> None:
    call(hooks, spool, "claude", "notification", {"session_id": "s", "title": "Look", "message": "I need you"})
    [event] = written(spool)
    assert (event.kind, event.summary, event.text) == (HookKind.NOTIFICATION, "Look", "I need you")


def test_a_failed_command_is_told_with_its_exit_code(hooks: Path, spool: Path) -> None:
    said = {"session_id": "s", "tool_name": "Bash", "tool_input": {"command": "false"}}
    call(
        hooks, spool, "claude", "after-tool", {**said, "hook_event_name": "PostToolUseFailure", "error": "Exit code 1"}
    )
    call(hooks, spool, "gemini", "after-tool", {**said, "tool_response": {"llmContent": "Output: x\nExit Code: 2\n"}})
    response = {"output": "nothing here", "exit_code": 3}
    call(hooks, spool, "opencode", "after-tool", {**said, "tool_response": response})
    assert [(event.ok, event.exit_code) for event in written(spool)] == [(False, 1), (False, 2), (False, 3)]


@pytest.mark.parametrize("payload", ["", "nonsense", "[1]", "[" * 100_000, '{"a":'])
def test_a_failing_hook_leaves_a_line_and_never_stops_the_agent(hooks: Path, spool: Path, payload: str) -> None:
    assert call(hooks, spool, "claude", "after-tool", payload) == ""
    errors = (spool / "out" / "hook-errors.log").read_text()
    assert "claude after-tool exit 1" in errors
    assert "no JSON" in errors or "Error" in errors


def test_huge_texts_are_cut(hooks: Path, spool: Path) -> None:
    huge = "ä\ud83d\ude00" * 300_000
    call(hooks, spool, "qwen", "after-agent", {"session_id": huge, "last_assistant_message": huge})
    [path] = (spool / "out").iterdir()
    assert path.stat().st_size < 1 << 16
    assert written(spool)[0].text


RISKY = {
    "git push origin main": "push",
    "cd x && GIT_SSH=1 git -C repo push": "push",
    "bash -c 'git push'": "push",
    "echo hi; sudo apt-get -y install x": "install",
    "npm i left-pad": "install",
    "rm -rf /": "destroy",
    "rm -rf ~/x": "destroy",
    "rm -rf .git": "destroy",
    "rm -rf ../other": "destroy",
    "rm -rf {w}": "destroy",
    "find / -name x -delete": "destroy",
    "make release": "release",
}
HARMLESS = (
    "ls",
    "git status",
    "rm -rf build",
    "rm {w}/x.o",
    "echo git push",
    "pip list",
    "git stash push",
    "rm /tmp/x",
)


def test_only_what_is_risky_is_asked(hooks: Path, spool: Path) -> None:
    workspace = spool / "workspace"
    (workspace / ".roommate").mkdir()
    (workspace / ".roommate" / "risks").write_text("release: make release\n")
    for command in (*RISKY, *HARMLESS):
        said = {"tool_name": "Bash", "tool_input": {"command": command.replace("{w}", str(workspace))}}
        told = call(hooks, spool, "claude", "before-tool", said, wait="0")
        assert ("deny" in told) == (command in RISKY), command
    asked = [event.text for event in written(spool) if event.kind is HookKind.APPROVAL]
    assert asked == list(RISKY.values())


@pytest.mark.parametrize("agent", [*AGENTS, "opencode"])
@pytest.mark.parametrize("allow", [True, False])
async def test_the_answer_reaches_the_waiting_hook(hooks: Path, spool: Path, agent: str, allow: bool) -> None:
    said = {"tool_name": "run_shell_command", "tool_input": {"command": "git push"}}
    waiting = asyncio.create_task(asyncio.to_thread(call, hooks, spool, agent, "before-tool", said))
    while not (asked := [e for e in written_now(spool) if e.kind is HookKind.APPROVAL]):
        assert not waiting.done()
        await asyncio.sleep(0.01)
    verdict = {"asks": asked[0].asks, "allow": allow, "reason": 'not "today"'}
    (spool / "in" / ".fresh").write_text(json.dumps(verdict))
    (spool / "in" / ".fresh").rename(spool / "in" / f"{asked[0].asks}.json")
    told = await waiting
    if allow:
        assert told == ""
    elif agent == "gemini":
        assert json.loads(told) == {"decision": "deny", "reason": 'not "today"'}
    else:
        decision = json.loads(told)["hookSpecificOutput"]
        assert decision["permissionDecision"] == "deny"
        assert decision["permissionDecisionReason"] == 'not "today"'


def written_now(spool: Path) -> list[HookEvent]:
    return [
        parse(kind, path.read_bytes())
        for path in sorted((spool / "out").iterdir())
        if (kind := kind_of(path.name)) is not None
    ]


def test_what_is_allowed_for_good_is_not_asked(hooks: Path, spool: Path) -> None:
    (spool / "in" / "allowed").write_text("push\n")
    said = {"tool_name": "Bash", "tool_input": {"command": "git push"}}
    assert call(hooks, spool, "claude", "before-tool", said, wait="0") == ""


@pytest.mark.parametrize("role", ["plan", "review", "implement", "ask"])
def test_who_is_to_look_only_changes_no_file(hooks: Path, spool: Path, role: str) -> None:
    looks = role in ("plan", "review")
    edits = (("claude", "Write"), ("gemini", "replace"), ("opencode", "write"))
    for agent, tool, denied in (*((*edit, looks) for edit in edits), ("qwen", "read_file", False)):
        told = call(hooks, spool, agent, "before-tool", {"tool_name": tool, "tool_input": {"path": "x"}}, role=role)
        assert ("look only" in told) == denied


def test_every_agent_has_every_hook_registered(hooks: Path) -> None:
    for folder, name in SETTINGS.items():
        text = (hooks / "settings" / folder / name).read_text()
        agent = folder.partition("-")[0]
        settings: dict[str, Any] = {}
        if name.endswith(".js"):
            commands = set(re.findall(r'": "(.+)",$', text, re.MULTILINE))
        else:
            settings = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
            entries = [entry for entries in settings["hooks"].values() for entry in entries]
            commands = {hook["command"] for entry in entries for hook in entry["hooks"]}
        if "notify" in settings:
            commands.add(" ".join(settings["notify"]))
        assert commands == {f"sh /run/hooks/wrapper {agent} {hook}" for hook in PROGRAMS if hook != "wrapper"}


def test_a_hook_is_there_compiled_for_this_python(hooks: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(hooks)!r}); import report"
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-v", "-c", code], capture_output=True, check=True)
    assert f"report.{sys.implementation.cache_tag}.pyc matches" in done.stderr.decode()


def test_the_shipped_programs_can_be_run() -> None:
    for name in PROGRAMS:
        assert stat.S_IMODE((shipped() / name).stat().st_mode) & 0o111 == 0o111, name
