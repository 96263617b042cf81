"""Does a turn run in a circle: the same calls with the same results, round after round?

What a restart took is like any result: the rounds before and behind it are in a row, and so are calls none of which the
daemon has survived.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from roommate.agent.history_repair import UNKNOWN
from roommate.domain import Answer, Prompt, Step, ToolCall, ToolResult

ROUNDS = 3
"""So often in a row is a circle."""

_Done = tuple[str, str, str]
"""A call's name, its arguments, and what came of it; empty where nobody knows."""

_TOOK = re.compile(r"\b\d+(?:\.\d+)? (?:ms|s|min)\b")
"""How long something took says nothing about what came of it."""


def repeated(steps: Sequence[Step]) -> Sequence[ToolCall]:
    """The calls of the newest round of a turn, where the rounds before were the same; nothing where they were not, or
    somebody has said something since."""
    rounds = list(islice(_rounds_back(steps), ROUNDS))
    same = len(rounds) == ROUNDS and _is_same([what for _, what in rounds])
    return () if not same or any(map(_waits, rounds[0][0])) else rounds[0][0]


def _is_same(rounds: Sequence[Sequence[_Done]]) -> bool:
    if len({len(done) for done in rounds}) > 1:
        return False
    return all(
        len({(name, arguments) for name, arguments, _ in one}) == 1 and len({came for _, _, came in one if came}) <= 1
        for one in zip(*rounds, strict=True)
    )


def _rounds_back(steps: Sequence[Step]) -> Iterator[tuple[Sequence[ToolCall], Sequence[_Done]]]:
    """The newest first: the calls, and what makes them and their results what they are."""
    results: dict[str, ToolResult] = {}
    for step in reversed(steps):
        match step:
            case Prompt():
                return
            case ToolResult():
                results[step.call_id] = step
            case Answer(calls=calls):
                what = [
                    (
                        call.name,
                        call.arguments,
                        "" if result.text == UNKNOWN else f"{result.ok} {_TOOK.sub('', result.text)}",
                    )
                    for call in calls
                    if (result := results.get(call.id))
                ]
                yield calls, sorted(what)


def _waits(call: ToolCall) -> bool:
    """It waits for something to happen: to do that again is no circle."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return False
    return isinstance(arguments, dict) and bool(arguments.get("wait"))
