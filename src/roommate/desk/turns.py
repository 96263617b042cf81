"""The turns: the newest ones, one of them step by step, and the end of one that runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.errors import NotFound
from roommate.house import House
from roommate.store import TurnRow, audit
from roommate.words import Answer, Deed, Prompt, RoomId, Step, ToolResult, UserId

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class TurnLine:
    """`state` is RUNNING or a `words.Stop`; `started` counts seconds from 1970, `seconds` is how long it took."""

    id: int
    room_id: RoomId
    asked_by: UserId
    model: str
    state: str
    started: float
    seconds: float
    tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class StepLine:
    """`kind` is prompt, answer, call or result; `about` is who asked, or which tool."""

    kind: str
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class TurnView:
    line: TurnLine
    steps: Sequence[StepLine]
    forgotten: bool
    """Its steps are not kept any more."""


async def turns(house: House, most: int, room_id: RoomId | None) -> Sequence[TurnLine]:
    """The newest first."""
    return [_line(row) for row in await house.turns.newest(most, room_id)]


async def turn(house: House, turn_id: int) -> TurnView:
    """Raises NotFound."""
    row, steps = await _get(house, turn_id)
    return TurnView(_line(row), [line for step in steps for line in _step(step)], forgotten=not steps)


async def cancel(house: House, turn_id: int, by: str, deed: Deed) -> None:
    """Stop it, now; the deed is recorded with its end. Raises NotFound when it does not run."""
    row, _ = await _get(house, turn_id)
    resident = house.room(row.turn.room_id)
    # A turn that a pause holds since a restart is not there yet.
    its_own = resident.running is None or resident.running.turn.id == turn_id
    if row.stop is not None or not its_own or not await resident.stop_turn(UserId(by), audit.recording(deed)):
        raise NotFound(f"turn {turn_id} does not run: {_line(row).state}")


async def room_of(house: House, turn_id: int) -> RoomId:
    """Raises NotFound."""
    return (await _get(house, turn_id))[0].turn.room_id


async def _get(house: House, turn_id: int) -> tuple[TurnRow, Sequence[Step]]:
    if found := await house.turns.get(turn_id):
        return found
    raise NotFound(f"there is no turn {turn_id}: `roommate turns ls` shows the newest")


def _line(row: TurnRow) -> TurnLine:
    turn = row.turn
    return TurnLine(
        id=turn.id,
        room_id=turn.room_id,
        asked_by=turn.asked_by,
        model=turn.model,
        state=str(row.stop or RUNNING),
        started=turn.started,
        seconds=(row.ended or time.time()) - turn.started,
        tokens=turn.usage.input_tokens + turn.usage.output_tokens,
        cost=turn.usage.cost,
    )


def _step(step: Step) -> Sequence[StepLine]:
    match step:
        case Prompt(text, sender):
            return [StepLine("prompt", sender, text)]
        case Answer(text, calls):
            said = [StepLine("answer", "", text)] if text else []
            return said + [StepLine("call", call.name, call.arguments) for call in calls]
        case ToolResult(_, text, ok, title):
            return [StepLine("result", title if ok else f"failed: {title}", text)]
