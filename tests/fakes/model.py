"""The scripted model in this process: the same rules and demands as tests/scripted_model.py has over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from roommate.agent.openai_messages import messages, tools_for
from roommate.domain import Emit, Reply, Step, TextDelta, ToolCall, ToolSpec, Usage
from roommate.errors import ModelRefused
from tests.scripted_model import Asked, Call, Delay, Gate, Rules, Stall, Status, Text, Tokens, from_chat, what_is_wrong

NAME = "openai/scripted"


class MemoryModel:
    """Implements `Model`. `asked` holds every request, oldest first. What HTTP does to a reply (it breaks off, it
    is nonsense, it is busy) is no part of it, but for an error in its place."""

    name = NAME
    context_tokens = 32_768
    sees = False

    def __init__(self, rules: Rules = from_chat) -> None:
        self.rules = rules
        self.asked: list[Asked] = []
        self._seen: Counter[str] = Counter()
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._calls = 0

    def open(self, gate: str) -> None:
        """What waits for it goes on, now and ever after."""
        self._gates[gate].set()

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        body = {"model": self.name, "messages": messages(system, history, sees=self.sees), "tools": tools_for(tools)}
        if problem := what_is_wrong(body):
            raise ModelRefused(problem)
        fingerprint = json.dumps(body["messages"], sort_keys=True)
        self._seen[fingerprint] += 1
        self.asked.append(asked := Asked(body, {}, time.monotonic(), self._seen[fingerprint]))
        said, calls, usage = "", [], Usage(len(fingerprint) // 4, 1)
        for action in self.rules(asked):
            match action:
                case Text(text):
                    said += text
                    emit(TextDelta(text))
                    await asyncio.sleep(0)
                case Call(name, arguments, call_id):
                    self._calls += 1
                    calls.append(ToolCall(call_id or f"call_{self._calls}", name, arguments))
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case Gate(name):
                    await self._gates[name].wait()
                case Stall():
                    await asyncio.Event().wait()
                case Tokens(read, written):
                    usage = Usage(read, written)
                case Status(code, message):
                    raise ModelRefused(f"the model's provider answers {code}: {message}")
                case _:
                    raise AssertionError(f"{action} is for the model over HTTP")
        return Reply(said, tuple(calls), usage)
