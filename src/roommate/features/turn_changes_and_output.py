"""What turns changed and printed, for people to look at again without asking the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.chat.step_view import COMMANDS, label, printed
from roommate.domain import Answer, Step, ToolCall, ToolResult
from roommate.errors import NotFound
from roommate.operations import Call, OfRoom, Short, Who, operation
from roommate.store import TurnRow, Turns
from roommate.text.printable import block

NEWEST = 100
"""Turns that are looked through."""
SHOWN = 12_000
"""Characters of an output in chat: its end."""


class OfTurn(OfRoom):
    turn: Annotated[int, Field(ge=0, title="TURN", description="Its number; else the newest that changed files.")] = 0


class Output(OfRoom):
    n: Annotated[int, Field(ge=1, title="N", description="1 is the newest command, 2 the one before."), Short("-n")] = 1


@dataclass(frozen=True, slots=True)
class StepResult:
    """`call` is Markdown: the tool and what it was about; `title` how it ended; `text` a diff, or what was printed."""

    turn: int
    call: str
    title: str
    text: str


def _diffs(found: Sequence[StepResult]) -> str:
    changes = (f"{one.call} — {one.title}\n{block(one.text, 'diff')}" for one in found)
    return "\n\n".join((f"What I changed in turn {found[0].turn}, apart from what commands did:", *changes))


def _output(one: StepResult) -> str:
    text = one.text if len(one.text) <= SHOWN else "…" + one.text[-SHOWN:]
    return f"{one.call} — {one.title} (turn {one.turn})\n{block(text or '(no output)')}"


def _results(row: TurnRow, steps: Sequence[Step]) -> Sequence[tuple[ToolCall, ToolResult, int]]:
    """Each call of a turn that has ended, in their order."""
    ended = {step.call_id: step for step in steps if isinstance(step, ToolResult)}
    calls = [call for step in steps if isinstance(step, Answer) for call in step.calls if call.id in ended]
    return [(call, ended[call.id], row.turn.id) for call in calls]


def _shown(call: ToolCall, result: ToolResult, turn: int, text: str) -> StepResult:
    try:
        given = json.loads(call.arguments)
        about = str(given.get("command") or given.get("path") or "")
    except (ValueError, AttributeError, RecursionError):
        about = ""
    return StepResult(turn, label(call.name, about), result.title.replace("`", "'"), text)


@dataclass(frozen=True, slots=True)
class Results:
    turns: Turns

    @operation("turns.diff", reads=_diffs, who=Who.ANYONE, chat="diff", cli="turns diff")
    async def diff(self, params: OfTurn, call: Call) -> Sequence[StepResult]:
        """Shows what a turn changed in files."""
        for steps in await self._turns(call, params.turn):
            if changed := [(*one, one[1].diff) for one in steps if one[1].diff]:
                return [_shown(*one) for one in changed]
        raise NotFound(f"turn {params.turn} changed no file here" if params.turn else "no turn here has changed a file")

    @operation("turns.output", reads=_output, who=Who.ANYONE, chat="output", cli="turns output")
    async def output(self, params: Output, call: Call) -> StepResult:
        """Shows what one of the newest commands printed."""
        left = params.n
        for steps in await self._turns(call):
            for one in reversed(steps):
                left -= one[0].name in COMMANDS
                if not left:
                    return _shown(*one, printed(one[1]))
        raise NotFound("nothing has been run here" if params.n == 1 else f"there are no {params.n} commands to look at")

    async def _turns(self, call: Call, number: int = 0) -> Sequence[Sequence[tuple[ToolCall, ToolResult, int]]]:
        """The turns of the conversation that it is said in, or of all of the room: the newest first."""
        rows = await self.turns.newest(NEWEST, call.its_room)
        numbers = [number] if number else [row.turn.id for row in rows if _meant(row, call)]
        found = [await self.turns.get(one) for one in numbers]
        return [_results(*one) for one in found if one and one[0].turn.room_id == call.its_room]


def _meant(row: TurnRow, call: Call) -> bool:
    return call.here is None or row.turn.thread == call.thread
