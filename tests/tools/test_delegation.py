"""The tools that give work to coding agents, as a model calls them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from roommate.domain import AgentReport, Emit, Hand, ToolCall, ToolResult
from roommate.errors import ToolError
from roommate.features.coding_agents import delegation_tools
from roommate.features.coding_agents.delegated_tasks import RoomAgents
from roommate.tools import RoomTools, TurnPorts
from roommate.tools.room_tools import SOURCES
from tests.live_hand import live_hand
from tests.patience import PATIENCE


class Agents(RoomAgents):
    """That report what they are asked."""

    def __init__(self, names: Sequence[str] = ("gemini",)) -> None:
        self._names = names
        self.asked: list[tuple[str, str, str]] = []
        self.text = "It is done."

    @property
    def names(self) -> Sequence[str]:
        return self._names

    async def work(self, role: str, task: str, agent: str, *, hand: Hand, call_id: str, emit: Emit) -> AgentReport:
        if agent == "copilot":
            raise ToolError("there is no agent 'copilot'")
        self.asked.append((role, task, agent))
        return AgentReport("gemini", task != "fail", self.text, "gemini · 1 call", ".roommate/agents/x.md")


class Room:
    def __init__(self, hand: Hand, agents: Agents) -> None:
        self._hand, self.agents = hand, agents
        ports = TurnPorts(command_timeout=PATIENCE, longest_timeout=PATIENCE, keep=2000)
        self.tools = RoomTools(self._bring_up, ports, (*SOURCES, delegation_tools.offered(agents)))

    async def _bring_up(self) -> Hand:
        return self._hand

    async def call(self, name: str, **arguments: object) -> ToolResult:
        return await self.tools.call(ToolCall("1", name, json.dumps(arguments)), lambda _: None)


@pytest.fixture
async def hand() -> AsyncIterator[Hand]:
    async with live_hand() as live:
        yield live.host


async def test_each_tool_is_a_role(hand: Hand) -> None:
    agents = Agents()
    room = Room(hand, agents)
    for name in ("plan", "review", "implement", "ask_agent"):
        result = await room.call(name, task="do it", agent="qwen" if name == "ask_agent" else None)
        assert result.ok
        assert result.title == "gemini · 1 call"
        assert "It is done." in result.text
        assert ".roommate/agents/x.md" in result.text
    assert agents.asked == [
        ("plan", "do it", ""), ("review", "do it", ""), ("implement", "do it", ""), ("ask", "do it", "qwen")
    ]  # fmt: skip


async def test_what_an_agent_says_is_bounded_and_whole_in_a_file(hand: Hand) -> None:
    agents = Agents()
    agents.text = "first " + "x" * 50_000 + " last"
    result = await Room(hand, agents).call("plan", task="do it")
    assert len(result.text) < 2500
    assert result.text.startswith("first")
    assert "last\n[" in result.text
    assert "whole output in .roommate/agents/x.md" in result.text


async def test_a_failure_is_a_result_that_says_so(hand: Hand) -> None:
    room = Room(hand, Agents())
    assert not (await room.call("plan", task="fail")).ok
    assert "copilot" in (await room.call("plan", task="do it", agent="copilot")).text
    assert "`task` is missing" in (await room.call("implement")).text


async def test_without_agents_their_tools_are_not_there(hand: Hand) -> None:
    everything = {spec.name for spec in Room(hand, Agents()).tools.specs}
    without = Room(hand, Agents([]))
    assert everything - {spec.name for spec in without.tools.specs} == {"plan", "review", "implement", "ask_agent"}
    assert "there is no tool `plan`" in (await without.call("plan", task="do it")).text
