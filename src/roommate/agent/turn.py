"""A turn: ask the model, run the tools it asks for, repeat until it asks for none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol

from roommate.agent import prompt
from roommate.agent.history_repair import ENDED, UNKNOWN, settled
from roommate.agent.repetition import ROUNDS, repeated
from roommate.agent.window import Scale, Window, fit
from roommate.domain import (
    NO_USAGE,
    Answer,
    Emit,
    Model,
    Note,
    Prompt,
    Reply,
    Said,
    Spent,
    Steered,
    Step,
    Stop,
    ToolCall,
    ToolFinished,
    ToolResult,
    Tools,
    ToolStarted,
    Usage,
)
from roommate.errors import ModelContext
from roommate.text.printable import in_code

PARALLEL = 32
"""Most calls of one reply that run at the same time."""

LONGEST_TITLE = 120
SHRINKS = 3
"""How often a history that is too long for the model is halved before the room is told."""


class StepStore(Protocol):
    """Where the steps of a turn are kept, in the order in which they are added; what it returned from is durable."""

    def add(self, step: Step, usage: Usage) -> Coroutine[None, None, None]: ...


class Lines(Protocol):
    """What is said to a turn that runs."""

    @property
    def waiting(self) -> bool:
        """There may be something that the turn has not taken in."""
        ...

    async def take(self) -> Sequence[Prompt]:
        """What there is, stored as steps of the turn; called when all steps before are stored."""
        ...

    async def joined(self) -> None:
        """Returns when somebody has said more in the breath in which they asked."""
        ...


class Nobody:
    """Implements Lines: nothing is said."""

    waiting = False

    async def take(self) -> Sequence[Prompt]:
        return ()

    async def joined(self) -> None:
        await asyncio.Event().wait()


NOBODY = Nobody()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended. ``last`` is not yet in the store: it belongs into the transaction that ends the turn."""

    stop: Stop
    last: Answer
    usage: Usage = NO_USAGE


async def run_turn(
    conversation: Sequence[Sequence[Step]],
    *,
    room: str,
    model: Model,
    tools: Tools,
    store: StepStore,
    emit: Emit,
    rounds: int,
    around: prompt.Surroundings = prompt.NOTHING_AROUND,
    lines: Lines = NOBODY,
    over: Callable[[], Awaitable[str]] | None = None,
) -> Outcome:
    """Run the newest turn of a conversation to its end; one that a restart interrupted goes on where it was.

    `conversation` is all turns so far as stored, the one to run last; `room` is the room's name for the prompt, and
    `around` what else that says of it. A call whose result is not stored is never run again: its result becomes
    "unknown", and the model decides; but one that goes on when it is made again (see `Tools.goes_on`) is. What is said
    meanwhile is taken in before the model is asked next; where it is only just asked for the first time, it is asked
    anew with what was said in the same breath. `over` tells people why the model is not to be asked again;
    empty where it may be.

    Raises ModelError when the model cannot be asked, and whatever the store raises.
    """
    *past, stored = conversation
    earlier = [settled(turn, ENDED) for turn in past]
    again = [call for call in _unanswered(stored) if tools.goes_on(call)]
    steps = [step for step in settled(stored, UNKNOWN) if not _answers(step, again)]
    for lost in [step for step in steps if isinstance(step, ToolResult) and step not in stored]:
        await store.add(lost, NO_USAGE)
    _tell(steps, tools, emit)
    asking = _Asking(model, tools, room, around, emit)
    try:
        async with asyncio.TaskGroup() as storing:
            keep = _Storing(storing, store)
            if again:
                steps = settled([*steps, *await _run_calls(again, tools, emit, keep, shown=True)], UNKNOWN)
            return await _go_on(earlier, steps, asking, tools, store, keep, lines, emit, rounds, over)
    except ExceptionGroup as group:  # one thing went wrong: callers know errors, not how the turn is built
        raise group.exceptions[0] from None


def _unanswered(steps: Sequence[Step]) -> Sequence[ToolCall]:
    known = {step.call_id for step in steps if isinstance(step, ToolResult)}
    return [call for step in steps if isinstance(step, Answer) for call in step.calls if call.id not in known]


def _answers(step: Step, calls: Sequence[ToolCall]) -> bool:
    return isinstance(step, ToolResult) and any(step.call_id == call.id for call in calls)


def _tell(steps: Sequence[Step], tools: Tools, emit: Emit) -> None:
    """What happened before a restart, once more: people go on seeing it."""
    begun = False
    for step in steps:
        if isinstance(step, Prompt) and begun:
            emit(Steered(step))
        elif isinstance(step, Answer):
            begun = True
            emit(Said(step.text))
            for call in step.calls:
                emit(ToolStarted(call, tools.title(call)))
        elif isinstance(step, ToolResult):
            emit(ToolFinished(step))


async def _go_on(
    earlier: Sequence[Sequence[Step]],
    steps: list[Step],
    asking: _Asking,
    tools: Tools,
    store: StepStore,
    storing: _Storing,
    lines: Lines,
    emit: Emit,
    rounds: int,
    over: Callable[[], Awaitable[str]] | None,
) -> Outcome:
    """The rounds that are left."""
    answered = sum(isinstance(step, Answer) for step in steps)
    while answered < rounds:
        if over and (why := await over()):
            return Outcome(Stop.BUDGET, Answer(why))
        if lines.waiting:
            await storing.done()
            for said in await lines.take():
                steps.append(said)
                if answered:
                    emit(Steered(said))
        if circling := repeated(steps):
            return Outcome(Stop.ROUNDS, Answer(_asking_what_else(circling, tools)))
        asked = asking.reply([*earlier, steps])
        reply = await asked if answered else await _unless_joined(asked, lines)
        if reply is None:
            emit(Said(""))  # of what was streamed nothing counts
            continue
        answered += 1
        answer = Answer(reply.text, reply.calls, reply.thought)
        emit(Said(reply.text))
        emit(Spent(reply.usage))
        if not reply.calls:
            return Outcome(Stop.DONE, answer, reply.usage)
        await store.add(answer, reply.usage)
        steps.append(answer)
        steps.extend(await _run_calls(reply.calls, tools, emit, storing))
    times = f"{rounds} rounds" if rounds > 1 else "one round"
    return Outcome(Stop.ROUNDS, Answer(f"I stopped after {times} of tool calls. Write “continue” and I go on."))


def _asking_what_else(calls: Sequence[ToolCall], tools: Tools) -> str:
    titles = ", ".join(in_code(f"{call.name} {tools.title(call)}", LONGEST_TITLE) for call in calls[:PARALLEL])
    return (
        f"I have done the same {ROUNDS} times in a row, and the same came of it each time: {titles}. So I stop here "
        "instead of going on in a circle. What shall I do instead? Write what you know about it, or “continue”."
    )


async def _unless_joined(reply: Coroutine[None, None, Reply], lines: Lines) -> Reply | None:
    """None where more was said before there was a reply: that is given up."""
    asking, joined = asyncio.ensure_future(reply), asyncio.ensure_future(lines.joined())
    try:
        await asyncio.wait((asking, joined), return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    finally:
        for task in (asking, joined):
            task.cancel()
        await asyncio.wait((asking, joined))


class _Storing:
    """Stores results while the model is asked with them: what the model makes of one is stored behind it. All is stored
    when `group` is left."""

    def __init__(self, group: asyncio.TaskGroup, store: StepStore) -> None:
        self._group, self._store = group, store
        self._tasks: list[asyncio.Task[None]] = []

    def __call__(self, result: ToolResult) -> None:
        self._tasks.append(self._group.create_task(self._store.add(result, NO_USAGE)))

    async def done(self) -> None:
        """All that was given is stored."""
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)


async def _run_calls(
    calls: Sequence[ToolCall],
    tools: Tools,
    emit: Emit,
    store: Callable[[ToolResult], None],
    *,
    shown: bool = False,
) -> list[ToolResult]:
    """Run the calls of one reply in parallel; `shown`: people see them already."""
    room_for = asyncio.Semaphore(PARALLEL)

    async def run(call: ToolCall) -> ToolResult:
        async with room_for:
            if not shown:
                emit(ToolStarted(call, tools.title(call)))
            result = await tools.call(call, emit)
            store(result)
            emit(ToolFinished(result))
            return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(call)) for call in calls]
    return [task.result() for task in tasks]


class _Asking:
    """Asks the model with as much of the conversation as it can read."""

    def __init__(self, model: Model, tools: Tools, room: str, around: prompt.Surroundings, emit: Emit) -> None:
        self._model = model
        self._tools = tools
        self._room = room
        self._around = around
        self._emit = emit
        self._budget = model.context_tokens
        self._weigh = Scale()
        self._told = False
        """People know that the model does not read all."""

    async def reply(self, turns: Sequence[Sequence[Step]]) -> Reply:
        for shrink in range(SHRINKS + 1):
            window = self._window(turns)
            try:
                system = prompt.system(self._room, self._around, partial=window.dropped_turns > 0)
                return await self._model.reply(system, window.steps, self._tools.specs, self._emit)
            except ModelContext:
                if shrink == SHRINKS:
                    raise
                self._budget //= 2
        raise AssertionError("the loop returns or raises")

    def _window(self, turns: Sequence[Sequence[Step]]) -> Window:
        window = fit(turns, self._budget, self._weigh)
        if window.dropped_turns and not self._told:
            self._told = True
            self._emit(Note("The conversation is longer than the model reads: its oldest turns are left out."))
        return window
