"""The model that stands for the shell: what a person writes behind ``$`` is run, what it prints is the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence

from roommate.domain import Emit, Prompt, Reply, Step, ToolCall, ToolResult, ToolSpec
from roommate.text.printable import block

COMMAND = "$"
"""The name of that model, and what stands before a command that is no prompt."""


class CommandModel:
    """Implements `Model`."""

    name = COMMAND
    context_tokens = 1 << 20
    sees = False

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        last = history[-1]
        if isinstance(last, ToolResult):
            return Reply(block(last.text))
        prompts = [step for step in history if isinstance(step, Prompt)]
        arguments = json.dumps({"command": prompts[-1].text}, ensure_ascii=False)
        return Reply("", (ToolCall(f"command-{len(prompts)}", "run_command", arguments),))
