"""What a model is asked through: pieces of one streamed reply, whatever the provider's protocol is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from roommate.domain import JsonObject, Usage

TAIL_SECONDS = 5.0
"""How long a whole reply waits for the token counts that come behind it."""
MOST_TOKENS, MOST_DOLLARS = 1 << 40, 1e6
"""Of one reply: a provider that says more does not know."""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call; what it does not say is empty."""

    index: int | None
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a reply. `thought` is what the model thinks before it speaks; `kept` are fields of the provider's own
    that it wants back with the history (see `Thought`), in the pieces in which they came."""

    text: str = ""
    calls: Sequence[CallPiece] = ()
    thought: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)
    finish: str = ""


@dataclass(slots=True)
class Counts:
    """The token counts of one reply: providers send them at once, in parts, or growing with each chunk."""

    read: int = 0
    written: int = 0
    fields: JsonObject = field(default_factory=dict)

    def take(self, usage: Any) -> None:
        """`usage` as OpenAI writes it, as a dict or as LiteLLM's class; None, and what is neither, changes nothing."""
        if hasattr(usage, "model_dump"):
            usage = usage.model_dump(exclude_none=True)
        if not isinstance(usage, dict):
            return
        self.read = max(self.read, _count(usage.get("prompt_tokens")))
        self.written = max(self.written, _count(usage.get("completion_tokens")))
        self.fields |= usage

    @property
    def cached(self) -> int:
        """Of those read, the ones that the provider had in its cache: OpenAI's name for it, or DeepSeek's."""
        details = self.fields.get("prompt_tokens_details")
        told = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
        return told or _count(self.fields.get("prompt_cache_hit_tokens"))

    @property
    def cost(self) -> float | None:
        """In US dollars, where the provider says it itself, as OpenRouter does."""
        told = self.fields.get("cost")
        return float(told) if isinstance(told, int | float) and 0 <= told < MOST_DOLLARS else None


def _count(told: Any) -> int:
    """A number of tokens; 0 for what is none: a provider's word must not be more than can be stored."""
    return int(told) if isinstance(told, int | float) and 0 <= told < MOST_TOKENS else 0


class Wire(Protocol):
    """One model at its provider."""

    @property
    def provider(self) -> str:
        """LiteLLM's word for the provider; empty where none is known."""
        ...

    @property
    def context_tokens(self) -> int:
        """What the model reads besides what it may write, in its own tokens; 0 where that is not known."""
        ...

    @property
    def sees(self) -> bool:
        """It takes pictures, as far as is known."""
        ...

    def pieces(
        self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], silence: float, counts: Counts
    ) -> AsyncGenerator[Piece, None]:
        """One reply to OpenAI's chat messages and tools; `counts` takes the token counts.

        Raises TimeoutError after `silence` seconds without a piece, else what `provider_errors.fault` reads. Closing
        the generator closes the connection.
        """
        ...

    def usage(self, counts: Counts) -> Usage:
        """What the provider counted, with its price where that is known."""
        ...
