"""Histories that any model takes: every call has its result right behind it, whatever happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from roommate.domain import Answer, Step, ToolCall, ToolResult

UNKNOWN = (
    "unknown: the daemon restarted while this ran. It may have run wholly, in part or not at all.\n"
    "[look before you repeat it]"
)
ENDED = "no result is known: the turn was ended while this ran"


def settled(steps: Iterable[Step], missing: str) -> list[Step]:
    """The steps with the results of each Answer behind it, in the order of its calls.

    A call without a result gets the text `missing`, with its first sentence as title; a result without a call is left
    out. Results may stand in any order behind their Answer, as parallel calls end in any order.
    """
    title = missing.partition(".")[0]
    whole: list[Step] = []
    calls: Sequence[ToolCall] = ()
    results: dict[str, ToolResult] = {}

    def close() -> None:
        whole.extend(results.get(call.id) or ToolResult(call.id, missing, ok=False, title=title) for call in calls)

    for step in steps:
        if isinstance(step, ToolResult):
            if any(step.call_id == call.id for call in calls):
                results.setdefault(step.call_id, step)
            continue
        close()
        whole.append(step)
        calls, results = (step.calls, {}) if isinstance(step, Answer) else ((), {})
    close()
    return whole
