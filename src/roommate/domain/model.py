"""What a turn talks to: a model, and the tools that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from roommate.domain.conversation_steps import Reply, Step, ToolCall, ToolResult, ToolSpec
from roommate.domain.turn_events import Emit


class Model(Protocol):
    """Something that answers a history, perhaps with tool calls."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int:
        """How many tokens of prompt and history the model reads."""
        ...

    @property
    def sees(self) -> bool:
        """It takes the pictures of results."""
        ...

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        """One model call, streamed: emits TextDelta (and TextDropped when a retry starts the reply again).

        `history` is valid: each call of an Answer has its ToolResult behind it. Raises ModelError; cancelling it
        closes the connection at once.
        """
        ...


class Tools(Protocol):
    """What the model can do in one room."""

    @property
    def specs(self) -> Sequence[ToolSpec]: ...

    def title(self, call: ToolCall) -> str:
        """What a call is about, such as a path, for people; empty where that is not known. A stranger's text."""
        ...

    def goes_on(self, call: ToolCall) -> bool:
        """After a restart, may it be made again, to go on with what it has begun?"""
        ...

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        """Do it. Never raises but for cancellation: whatever goes wrong is a result that says so (`ok` False)."""
        ...
