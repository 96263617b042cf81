"""The tools that give work to coding agents: plan, review, implement, ask_agent."""

from __future__ import annotations

from roommate.errors import ToolError
from roommate.ports import Agents, Emit, Hand
from roommate.tools.arguments import AskAgent, Delegated, Implement, Plan, Review
from roommate.tools.bounded import Bounded
from roommate.tools.outcome import Outcome
from roommate.tools.plain import shown

ROLES: dict[type[Delegated], str] = {Plan: "plan", Review: "review", Implement: "implement", AskAgent: "ask"}


async def delegate(
    call_id: str, asked: Delegated, agents: Agents | None, hand: Hand, emit: Emit, *, keep: int
) -> Outcome:
    """`keep` is how many bytes of what the agent says the model gets."""
    if agents is None:
        raise ToolError("there are no coding agents here: do it with your other tools")
    report = await agents.work(ROLES[type(asked)], asked.task, asked.agent or "", hand=hand, call_id=call_id, emit=emit)
    said = Bounded(keep // 2, keep // 2)
    said.add(report.text.encode("utf-8", "replace"))
    text = shown(said.excerpt(), report.transcript)
    return Outcome(f"{text}\n[{report.how}; all it said and did is in {report.transcript}]", report.how, ok=report.ok)
