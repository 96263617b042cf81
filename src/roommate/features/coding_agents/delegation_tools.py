"""The tools that give work to coding agents: plan, review, implement, ask_agent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field

from roommate.features.coding_agents.delegated_tasks import RoomAgents
from roommate.tools.arguments import Arguments, Text
from roommate.tools.bounded import Bounded
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import shown
from roommate.tools.tool import Call, Tool, tool


class Delegated(Arguments):
    """What a coding agent is given; it knows the workspace, and what it was told before, but not this conversation."""

    task: Text = Field(description="What to do, with all that the agent must know: it does not see this conversation")
    agent: Text | None = Field(None, description="gemini, qwen, claude, codex or opencode; default: the room's choice")


class Plan(Delegated):
    """Ask a coding agent for a plan: it looks at the workspace and changes nothing. Takes minutes."""


class Review(Delegated):
    """Have a coding agent review the changes in the workspace. Takes minutes."""


class Implement(Delegated):
    """Have a coding agent carry a task out: it writes code in the workspace, runs and tests it. Takes minutes."""


class AskAgent(Delegated):
    """Talk to a coding agent, in the session that this room has with it."""


ROLES: Sequence[tuple[str, str, type[Delegated]]] = (
    ("plan", "plan", Plan),
    ("review", "review", Review),
    ("implement", "implement", Implement),
    ("ask", "ask_agent", AskAgent),
)


def offered(agents: RoomAgents) -> Sequence[Tool[Delegated]]:
    """Where there are coding agents."""
    if not agents.names:
        return ()
    return [tool(name, kind, partial(_delegate, agents, role), title=("task",)) for role, name, kind in ROLES]


async def _delegate(agents: RoomAgents, role: str, asked: Delegated, call: Call) -> Outcome:
    report = await agents.work(role, asked.task, asked.agent or "", hand=call.hand, call_id=call.id, emit=call.emit)
    half = call.ports.keep // 2
    said = Bounded(half, half)
    said.add(report.text.encode("utf-8", "replace"))
    text = shown(said.excerpt(), report.transcript)
    return Outcome(f"{text}\n[{report.how}; all it said and did is in {report.transcript}]", report.how, ok=report.ok)
