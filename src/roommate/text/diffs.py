"""What changed between two texts, as the lines of a diff: bounded in length and in the time it takes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

DIFF_LINES = 40
"""Most lines of a diff that are kept."""
LARGEST = 100_000
"""Characters of what differs beyond which no diff is made."""
MOST_PAIRS = 20_000
"""Of a line before and one after that are compared: a diff takes up to cubic time, and these may take 30 ms."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`lines` is a diff without heads, empty where no line differs; `removed` and `added` count all of its lines."""

    lines: str
    removed: int
    added: int


def difference(before: str, after: str) -> Difference:
    old, new = _differing(before.splitlines(), after.splitlines())
    if sum(len(line) + 1 for line in (*old, *new)) > LARGEST or len(old) * len(new) > MOST_PAIRS:
        return Difference(f"(−{len(old)} +{len(new)} lines)", len(old), len(new))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    kept = [line for line in lines if not line.startswith("@@")]
    removed, added = (sum(line.startswith(mark) for line in kept) for mark in "-+")
    if len(kept) > DIFF_LINES:
        kept = [*kept[:DIFF_LINES], f"… {len(kept) - DIFF_LINES} more lines"]
    return Difference("\n".join(line[:300] for line in kept), removed, added)


def _differing(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Without what is the same before and after, but for one line each."""
    shorter = min(len(old), len(new))
    begin = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    rest = shorter - begin
    end = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    first, left = max(0, begin - 1), max(0, end - 1)
    return old[first : len(old) - left], new[first : len(new) - left]
