"""Agents over a real hand: programs that replay the recorded streams of the real CLIs stand in for those."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.domain import AgentReport, Event, RoomId, ToolOutput, ToolStep
from roommate.errors import ToolError
from roommate.features.coding_agents.agent_clis import AGENT_CLIS
from roommate.features.coding_agents.delegated_tasks import Choice, RoomAgents
from roommate.features.coding_agents.json_lines import Lines
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE, until

SAMPLES = Path(__file__).parent / "samples"
ROOM = RoomId("!room")
PROVIDERS = tuple(plan.provider for plan in AGENT_CLIS.values())


class Log:
    """AgentStore in memory."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self.chosen: dict[str, tuple[str, ...]] = {}

    async def preferred(self, room_id: RoomId, role: str) -> tuple[str, ...]:
        return self.chosen.get(role, ())

    async def session(self, conversation_id: int, agent: str) -> str:
        return self.sessions.get(agent, "")

    async def keep_session(self, conversation_id: int, agent: str, session: str) -> None:
        self.sessions[agent] = session


class Room:
    def __init__(self, hand: LiveHand, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hand, self.log, self.programs = hand, Log(), programs
        self.events: list[Event] = []
        self.agents = self.with_keys(*PROVIDERS)

    def with_keys(self, *providers: str, seconds: float = PATIENCE) -> RoomAgents:
        preferred = {"plan": ("gemini",), "implement": ("qwen",)}
        return RoomAgents(ROOM, Choice(providers, preferred, {}, seconds), self.log)

    def install(self, agent: str, script: str) -> None:
        program = self.programs / agent
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def replay(self, agent: str, sample: str = "write") -> None:
        """The agent says what a real one said; its arguments go to a file of its name."""
        self.install(
            agent, f"printf '%s\\n' \"$@\" >>{agent}.asked\necho noise >&2\ncat {SAMPLES}/{agent}-{sample}.jsonl"
        )

    async def work(self, role: str = "plan", task: str = "DO it", agent: str = "") -> AgentReport:
        return await self.agents.work(role, task, agent, hand=self.hand.host, call_id="1", emit=self.events.append)

    def file(self, path: str) -> str:
        return (self.hand.workspace / path).read_text()


@pytest.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")  # of the hand, as an image sets it
    async with live_hand() as hand:
        yield Room(hand, tmp_path, monkeypatch)


@pytest.mark.parametrize("agent", AGENT_CLIS)
async def test_an_agent_works_and_its_steps_are_seen(room: Room, agent: str) -> None:
    room.replay(agent)
    report = await room.work("implement", "DO write hello.txt some text", agent)
    assert (report.agent, report.ok) == (agent, True)
    assert report.text.startswith("Done: write hello.txt. Prompts so far: 1.")
    assert "1 call" in report.how
    steps = [event for event in room.events if isinstance(event, ToolStep)]
    assert [step.ok for step in steps] == [None, True]
    assert "hello.txt" in steps[0].subject
    said = "".join(event.text for event in room.events if isinstance(event, ToolOutput))
    assert "I will do it." in said
    transcript = room.file(report.transcript)
    for part in ("DO write hello.txt some text", "I will do it.", "hello.txt", "Done: write"):
        assert part in transcript
    if agent != "codex":
        assert "[files written: hello.txt]" in report.text
        assert "+some text" in transcript
    assert "nobody can answer" in room.file(f"{agent}.asked"), "the brief"
    assert room.file(".roommate/.gitignore") == "*\n"
    assert room.log.sessions[agent]


async def test_a_follow_up_goes_on_with_the_session(room: Room) -> None:
    room.replay("gemini")
    await room.work()
    session = room.log.sessions["gemini"]
    await room.work()
    first, _, second = room.file("gemini.asked").partition("--prompt")
    assert "--resume" not in first
    assert f"--resume\n{session}\n" in second


async def test_a_session_that_the_agent_does_not_know_begins_anew(room: Room) -> None:
    room.log.sessions["gemini"] = "gone"
    room.install(
        "gemini", f'case "$*" in *--resume*) echo no such session >&2; exit 42;; esac; cat {SAMPLES}/gemini-write.jsonl'
    )
    report = await room.work()
    assert report.ok
    assert room.log.sessions["gemini"] not in ("", "gone")


async def test_the_next_agent_takes_what_the_first_cannot(room: Room) -> None:
    room.replay("claude")
    room.replay("codex")
    room.agents = room.with_keys("anthropic")
    room.log.chosen["plan"] = ("gemini", "codex", "claude")
    report = await room.work("review")
    assert report.agent == "claude"
    assert "gemini is not installed" in report.text
    assert "OPENAI_API_KEY" in report.text


async def test_without_any_agent_the_model_is_told_why(room: Room) -> None:
    with pytest.raises(ToolError, match="gemini is not installed"):
        await room.work()
    with pytest.raises(ToolError, match="there is no agent 'copilot'"):
        await room.work(agent="copilot")
    room.replay("gemini")
    room.agents = room.with_keys()
    with pytest.raises(ToolError, match="GEMINI_API_KEY"):
        await room.work(agent="gemini")
    assert room.agents.names == []


async def test_what_goes_wrong_is_in_the_report(room: Room) -> None:
    room.install("gemini", "echo the disk is full >&2; exit 7")
    report = await room.work()
    assert not report.ok
    assert "gemini failed: the disk is full" in report.text
    room.install("gemini", f"cat {SAMPLES}/gemini-error.jsonl; exit 1")
    assert "no such path" in (await room.work()).text


async def test_a_transcript_that_cannot_be_kept_costs_the_report_nothing(room: Room) -> None:
    room.install("gemini", f"cat {SAMPLES}/gemini-write.jsonl; rm -rf .roommate; touch .roommate")
    report = await room.work()
    assert report.text.startswith("Done: write hello.txt.")
    assert "transcript could not be kept" in report.text


async def test_an_agent_that_takes_too_long_is_stopped_and_can_go_on(room: Room) -> None:
    room.install("gemini", f"head -n 4 {SAMPLES}/gemini-write.jsonl; sleep 600")
    room.agents = room.with_keys("gemini", seconds=1)
    report = await room.work()
    assert not report.ok
    assert "was stopped after 1 s" in report.text
    assert room.log.sessions["gemini"]
    await until(lambda: not room.hand.left())


async def test_cancelling_kills_all_that_it_started(room: Room) -> None:
    room.install("gemini", f"head -n 4 {SAMPLES}/gemini-write.jsonl; (setsid sleep 600 &) ; sleep 600")
    task = asyncio.create_task(room.work())
    await until(lambda: room.events)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not room.hand.left())


async def test_runs_of_one_agent_take_turns(room: Room) -> None:
    room.install("gemini", f"mkdir busy || exit 9; sleep 0.2; rmdir busy; cat {SAMPLES}/gemini-write.jsonl")
    reports = await asyncio.gather(*(room.work() for _ in range(3)))
    assert all(report.ok for report in reports)


async def test_a_task_that_no_command_line_takes_is_refused(room: Room) -> None:
    with pytest.raises(ToolError, match="longer than"):
        await room.work(task="x" * 100_001)


def test_lines_come_in_any_pieces() -> None:
    stream = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(50)) + b'noise\n[1]\n\n{"n": 50}'
    for size in (1, 7, 1000):
        lines = Lines()
        found = [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])]
        found += lines.end()
        assert [line["n"] for line in found] == list(range(51))
        assert lines.left_out == 2


def test_lines_that_are_too_long_or_too_deep_are_left_out() -> None:
    lines = Lines(longest=10_000)
    assert list(lines.feed(b'{"a": "' + b"x" * 20_000)) == []
    assert list(lines.feed(b"x" * 20_000 + b'"}\n{"n": 1}\n')) == [{"n": 1}]
    assert list(lines.feed(b"[" * 9_000 + b"\n")) == []
    assert lines.left_out == 2
