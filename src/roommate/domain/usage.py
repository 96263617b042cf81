"""What model calls took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls took. ``cost`` is US dollars, None where the price is not known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    cached_tokens: int = 0
    """Of those read, the ones that the provider had in its cache."""

    def __add__(self, other: Usage) -> Usage:
        known = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            sum(known) if known else None,
            self.cached_tokens + other.cached_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """What a coding agent in a room used of one model; empty is a name that nobody said."""

    agent: str
    model: str
    requests: int
    usage: Usage
