"""The model that stands for one coding agent: what a person says goes to the agent, what that says is the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence

from roommate.domain import Emit, Prompt, Reply, Step, ToolCall, ToolResult, ToolSpec

DIRECT = "agent:"
"""In front of an agent's name: the name of such a model."""


class DirectModel:
    """Implements `Model`."""

    context_tokens = 1 << 20
    sees = False

    def __init__(self, name: str) -> None:
        """`name` begins with DIRECT."""
        self.name = name
        self._agent = name.removeprefix(DIRECT)

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        last = history[-1]
        if isinstance(last, ToolResult):
            return Reply(last.text)
        prompts = [step for step in history if isinstance(step, Prompt)]
        task = {"agent": self._agent, "task": prompts[-1].text}
        call = ToolCall(f"ask-{len(prompts)}", "ask_agent", json.dumps(task, ensure_ascii=False))
        return Reply("", (call,))
