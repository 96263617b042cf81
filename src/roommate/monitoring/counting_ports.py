"""The ports of models, tools and the model gateway's log, with what goes through them counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from roommate.domain import Emit, Model, Reply, RoomId, Step, ToolCall, ToolResult, Tools, ToolSpec, Usage
from roommate.errors import ModelAuth, ModelBusy, ModelContext, ModelRefused
from roommate.monitoring.counts import CODING_AGENT, CONVERSATION, Counts

OK, FAILED, STOPPED = "ok", "failed", "stopped"
_OUTCOMES: dict[type[Exception], str] = {
    ModelAuth: "auth",
    ModelContext: "context",
    ModelBusy: "busy",
    ModelRefused: "refused",
}
_NO_TOOL = "unknown"
"""A tool that a model made up."""


class UsageStore(Protocol):
    """Where it is counted what the coding agents of a room use of models."""

    async def count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None: ...


class CountedModel:
    """Implements `Model`."""

    def __init__(self, model: Model, counts: Counts) -> None:
        self._model = model
        self._counts = counts

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def context_tokens(self) -> int:
        return self._model.context_tokens

    @property
    def sees(self) -> bool:
        return self._model.sees

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        counts, began, outcome = self._counts, time.perf_counter(), FAILED
        try:
            reply = await self._model.reply(system, history, tools, emit)
            outcome, counts.model_failures = OK, 0
            counts.spent(self.name, reply.usage, CONVERSATION)
            return reply
        except asyncio.CancelledError:
            outcome = STOPPED
            raise
        except ModelContext:  # the history is halved, and the model asked again
            outcome = _OUTCOMES[ModelContext]
            raise
        except Exception as error:
            outcome = _OUTCOMES.get(type(error), FAILED)
            counts.model_failures += 1
            raise
        finally:
            counts.model(self.name, outcome, time.perf_counter() - began)


class CountedTools:
    """Implements `Tools`."""

    def __init__(self, tools: Tools, counts: Counts) -> None:
        self._tools = tools
        self._counts = counts

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return self._tools.specs

    def title(self, call: ToolCall) -> str:
        return self._tools.title(call)

    def goes_on(self, call: ToolCall) -> bool:
        return self._tools.goes_on(call)

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        began, outcome = time.perf_counter(), STOPPED
        try:
            result = await self._tools.call(call, emit)
            outcome = OK if result.ok else FAILED
            return result
        finally:
            name = call.name if any(spec.name == call.name for spec in self.specs) else _NO_TOOL
            self._counts.tool(name, outcome, time.perf_counter() - began)


class CountedUsages:
    """Implements `UsageStore`."""

    def __init__(self, log: UsageStore, counts: Counts) -> None:
        self._log = log
        self._counts = counts

    async def count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None:
        self._counts.spent(model, usage, CODING_AGENT)
        await self._log.count(room_id, agent, model, usage)
