"""The turns: the newest ones, one of them step by step, and the end of one that runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import Answer, EventId, Incoming, Message, Prompt, RoomId, Step, ToolResult, UserId
from roommate.errors import NotFound
from roommate.operations import (
    Call,
    Change,
    OfRoom,
    OfRoomOrAll,
    Params,
    Short,
    Table,
    Unchanged,
    Who,
    changing,
    form,
    operation,
)
from roommate.rooms.bot_answers import queue_mark
from roommate.rooms.residents import Resident
from roommate.settings.config import Settings
from roommate.store import Transaction, Turn, TurnRow, Work
from roommate.store import Turns as TurnStore
from roommate.store.inbox import counting_queued, counting_queued_in, dropping_queued
from roommate.store.messages_to_running_turn import adding, named, turning
from roommate.text.amounts import age, cost

RUNNING = "running"
ALL_ROWS = 1 << 62
"""A row of the inbox that comes after all others."""


class Newest(OfRoomOrAll):
    most: Annotated[int, Field(ge=1, le=1000, title="N", description="How many."), Short("-n")] = 20


class OfTurn(Params):
    turn: Annotated[int, Field(description="A turn's number.")]


class Line(OfRoom):
    text: Annotated[str, Field(min_length=1, max_length=40_000, title="TEXT", description="What the model is told.")]


class Stopped(OfRoom):
    all: Annotated[bool, Field(description="All that runs in the room, and drop what waits.")] = False


@dataclass(frozen=True, slots=True)
class TurnLine:
    """`state` is RUNNING or a `domain.Stop`; `started` counts seconds from 1970, `seconds` is how long it took."""

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


@dataclass(frozen=True, slots=True)
class Stop:
    """`stopped` counts turns; `elsewhere` those that go on in other conversations of the room. `dropped` and `waiting`
    count messages."""

    stopped: int
    elsewhere: int
    dropped: int
    waiting: int


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


def _table(turns: Sequence[TurnLine]) -> Table:
    rows = [
        (
            str(one.id),
            one.room_id,
            one.asked_by,
            one.state,
            f"{age(time.time() - one.started)} ago",
            age(one.seconds),
            str(one.tokens or ""),
            cost(one.cost),
            one.model,
        )
        for one in turns
    ]
    return Table(rows, ("turn", "room", "asked by", "state", "began", "took", "tokens", "cost", "model"))


def _shown(turn: TurnView) -> str:
    line = turn.line
    head = f"turn {line.id} in {line.room_id}: {line.state}, {age(line.seconds)}, {line.model}"
    gone = ["What it did is not kept any more: it is older than KEEP_DAYS."] if turn.forgotten else []
    steps = (f"\n── {step.kind}{' ' if step.about else ''}{step.about}\n{step.text}" for step in turn.steps)
    return "\n".join((head, *gone, *steps))


def _stopped(stop: Stop) -> str:
    """What the messages of the turns that were stopped do not say."""
    nothing = "Nothing runs in this conversation." if stop.elsewhere else "Nothing runs."
    parts = [] if stop.stopped else [nothing]
    if stop.elsewhere:
        others = "1 turn runs" if stop.elsewhere == 1 else f"{stop.elsewhere} turns run"
        parts.append(f"Elsewhere in this room {others}: `!stop all` stops all.")
    if stop.dropped:
        parts.append(f"{stop.dropped} waiting message{'' if stop.dropped == 1 else 's'} dropped.")
    if stop.waiting:
        one = stop.waiting == 1
        many = "1 waiting message comes" if one else f"{stop.waiting} waiting messages come"
        parts.append(f"{many} next; `!stop all` drops {'it' if one else 'them'}.")
    return " ".join(parts)


def _stopped_elsewhere(stop: Stop) -> str:
    """For who does not see the messages of the turns."""
    turns = f"{stop.stopped} turns stopped." if stop.stopped > 1 else "Stopped." if stop.stopped else ""
    return f"{turns} {_stopped(stop)}".strip()


@dataclass(frozen=True, slots=True)
class Turns:
    turns: TurnStore
    resident: Callable[[RoomId], Resident]
    """The room's task, which is started where it does not run."""
    wake: Callable[[RoomId], None]
    settings: Callable[[], Settings]

    @operation(
        "turns.list",
        reads=lambda found: _table(found).block,
        terminal=_table,
        who=Who.OPERATORS,
        chat="turns",
        cli="turns ls",
    )
    async def list(self, params: Newest, call: Call) -> Sequence[TurnLine]:
        """Shows the newest turns of a room, or of all, the newest first."""
        return [_line(row) for row in await self.turns.newest(params.most, call.room)]

    @operation("turns.show", terminal=_shown, cli="turns show")
    async def show(self, params: OfTurn, call: Call) -> TurnView:
        """Shows a turn step by step: the prompt, what the model said and called, what came of it."""
        row, steps = await self._get(params.turn)
        return TurnView(_line(row), [line for step in steps for line in _step(step)], forgotten=not steps)

    @operation("turns.cancel", audit="turn.cancel", subject=lambda params: str(params.turn), cli="turns cancel")
    async def cancel(self, params: OfTurn, call: Call) -> Change[str]:
        """Stops a turn that runs.

        Its end and the word of it are stored together.
        """
        row, _ = await self._get(params.turn)
        over = NotFound(f"turn {params.turn} does not run: {_line(row).state}")
        if row.stop is not None:
            raise over

        def meant(turn: Turn) -> bool:
            return turn.id == params.turn

        async def stop(along: Work[object]) -> None:
            resident = self.resident(row.turn.room_id)
            if not await resident.stop(UserId(call.name), meant, lambda stopped: along if stopped else None):
                raise over

        return Change(lambda c: f"Turn {params.turn} is stopped.", carrier=stop, room_id=row.turn.room_id)

    @operation(
        "turns.stop",
        reads=_stopped,
        terminal=_stopped_elsewhere,
        who=Who.ANYONE,
        audit="stop",
        subject=lambda params: "all" if params.all else "",
        chat=(form("stop", all=False), form("stop all", all=True)),
        cli="turns stop",
    )
    async def stop(self, params: Stopped, call: Call) -> Change[Stop]:
        """Stops what runs in this conversation, at once; with `all` all that runs and waits in the room."""
        room_id, thread, everywhere = call.its_room, call.thread, params.all or call.here is None
        drop = dropping_queued(room_id, call.seq or ALL_ROWS)
        here = counting_queued_in(room_id, EventId(thread) if thread else None)
        count = counting_queued(room_id) if everywhere else here
        resident, stopped = self.resident(room_id), 0

        def meant(turn: Turn) -> bool:
            return everywhere or turn.thread == thread

        def work(c: Transaction) -> Stop | Unchanged[Stop]:
            dropped = drop(c) if params.all else 0
            elsewhere = sum(not meant(turn) for turn in resident.running)
            result = Stop(stopped, elsewhere, dropped, count(c))
            return result if stopped or dropped else Unchanged(result)

        async def stop(along: Work[object]) -> None:
            def counted(turns: int) -> Work[object]:
                nonlocal stopped
                stopped = turns
                return along

            await resident.stop(UserId(call.name), meant, counted)

        return Change(work, carrier=stop)

    @operation("turns.steer", who=Who.ANYONE, audit="steer", chat="steer", cli="turns steer")
    async def steer(self, params: Line, call: Call) -> Change[str]:
        """Tells the turn that runs something before its next step; where none runs, it is a prompt.

        In chat it is the message that says it which waits, and that can be changed until then.
        """
        room_id, thread = call.its_room, EventId(call.thread) if call.thread else None
        runs = any(turn.thread == thread for turn in self.resident(room_id).running)
        if call.seq:
            mark = queue_mark(room_id, EventId(call.via), call.seq) if runs else None
            line: Work[object] = turning(call.seq, params.text, mark)
        else:
            name = named(secrets.token_hex(12))
            asked_by = UserId(next(iter(self.settings().operator_ids), self.settings().bot))
            said = Message(params.text, thread)
            line = adding(Incoming(name, room_id, asked_by, int(time.time() * 1000), said))
        told = "It is told before its next step." if runs else "Nothing runs: it is a prompt of its own."

        async def wake() -> None:
            self.wake(room_id)

        return changing([line], "" if call.seq else told, after=wake)

    async def _get(self, turn_id: int) -> tuple[TurnRow, Sequence[Step]]:
        if found := await self.turns.get(turn_id):
            return found
        raise NotFound(f"there is no turn {turn_id}: `roommate turns ls` shows the newest")
