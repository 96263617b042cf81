"""What this daemon has done since it began, as numbers: counted where it happens, which costs about a microsecond."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from roommate.domain import Stop, Usage

CONVERSATION, CODING_AGENT = "conversation", "coding agent"
"""On whose behalf a model was asked."""

GOOD, BAD = "good", "bad"
"""How people rate an answer: 👍, 👎."""

MOST_MODELS = 20
"""Names of models that are told apart: rooms choose them, and every name is a time series for ever."""
OTHER = "other"

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Histogram:
    """How many samples were at most so large, for each of some bounds."""

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, sample: float) -> None:
        self._counts[bisect_left(self._bounds, sample)] += 1
        self.sum += sample

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each bound as text with the samples up to it, ``+Inf`` last."""
        total, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Counts:
    """All of them begin at nought when the daemon begins. Nothing in them says which room it was."""

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter({stop.value: 0 for stop in Stop})
        """By how they ended."""
        self.turn_seconds = Histogram()
        self.ratings: Counter[str] = Counter({GOOD: 0, BAD: 0})
        """What people think of answers."""
        self.tool_calls: Counter[tuple[str, str]] = Counter()
        """By tool and outcome."""
        self.tool_seconds = Histogram()
        self.model_calls: Counter[tuple[str, str]] = Counter()
        """By model and outcome."""
        self.model_seconds = Histogram()
        self.model_failures = 0
        """In a row, up to now."""
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        """By model, direction (``input``, ``output``) and on whose behalf."""
        self.dollars: dict[tuple[str, str], float] = {}
        """By model and on whose behalf, where the price is known."""
        self._models: set[str] = set()

    def turn(self, stop: Stop, seconds: float) -> None:
        self.turns[stop.value] += 1
        self.turn_seconds.add(max(0.0, seconds))

    def tool(self, name: str, outcome: str, seconds: float) -> None:
        """`name` must be one of the tools that there are: a model can make up others."""
        self.tool_calls[name, outcome] += 1
        self.tool_seconds.add(seconds)

    def model(self, name: str, outcome: str, seconds: float) -> None:
        self.model_calls[self._known(name), outcome] += 1
        self.model_seconds.add(seconds)

    def spent(self, name: str, usage: Usage, by: str) -> None:
        name = self._known(name)
        self.tokens[name, "input", by] += usage.input_tokens
        self.tokens[name, "output", by] += usage.output_tokens
        if usage.cost is not None:
            self.dollars[name, by] = self.dollars.get((name, by), 0.0) + usage.cost

    def _known(self, name: str) -> str:
        if name not in self._models:
            if len(self._models) >= MOST_MODELS:
                return OTHER
            self._models.add(name)
        return name
