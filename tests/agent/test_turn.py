"""The turn loop, with a model and tools that do what a test says: whatever was stored before, a turn ends well."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.history_repair import UNKNOWN
from roommate.agent.turn import PARALLEL, SHRINKS, Outcome, run_turn
from roommate.domain import (
    NO_USAGE,
    Answer,
    Emit,
    Event,
    Note,
    Prompt,
    Reply,
    Said,
    Step,
    Stop,
    TextDelta,
    ToolCall,
    ToolFinished,
    ToolResult,
    ToolSpec,
    ToolStarted,
    Usage,
    UserId,
)
from roommate.errors import ModelAuth, ModelContext, ModelError
from tests.agent.conversations import is_valid
from tests.patience import PATIENCE

ALICE = UserId("@alice:x")
PROMPT = Prompt("do it", ALICE)


def call(name: str) -> ToolCall:
    return ToolCall(name, "tool", "{}")


@dataclass
class Script:
    """Implements `Model`: the reply of each round, counted by the answers since the newest prompt."""

    rounds: Sequence[Reply | ModelError]
    context_tokens: int = 100_000
    too_long_above: int = 1 << 30
    """Steps of a history beyond which it says that it is too long."""
    name: str = "script"
    sees: bool = False
    asked: list[list[Step]] = field(default_factory=list)

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        self.asked.append(list(history))
        if len(history) > self.too_long_above:
            raise ModelContext("too long")
        newest = max(place for place, step in enumerate(history) if isinstance(step, Prompt))
        said = self.rounds[sum(isinstance(step, Answer) for step in history[newest:])]
        await asyncio.sleep(0)
        if isinstance(said, ModelError):
            raise said
        emit(TextDelta(said.text))
        return said


@dataclass
class Bench:
    """Implements `Tools`: gives each call's name back, and remembers what was called."""

    act: Callable[[ToolCall], object] = lambda _: None
    called: list[str] = field(default_factory=list)
    specs: Sequence[ToolSpec] = ()
    lasting: Sequence[str] = ()
    """Calls that go on when they are made again."""

    def title(self, call: ToolCall) -> str:
        return call.name

    def goes_on(self, call: ToolCall) -> bool:
        return call.id in self.lasting

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        self.called.append(call.id)
        waits = self.act(call)
        if isinstance(waits, asyncio.Future):
            await waits
        await asyncio.sleep(0)
        return ToolResult(call.id, f"result of {call.id}")


@dataclass
class Rows:
    """Implements StepStore: durable a moment later, in the order in which it was asked, as the database is."""

    rows: list[Step] = field(default_factory=list)
    usage: Usage = NO_USAGE

    async def add(self, step: Step, usage: Usage) -> None:
        self.rows.append(step)
        self.usage += usage
        await asyncio.sleep(0)


async def run(
    stored: Sequence[Step],
    model: Script,
    tools: Bench | None = None,
    store: Rows | None = None,
    *,
    past: Sequence[Sequence[Step]] = (),
    rounds: int = 10,
    events: list[Event] | None = None,
) -> Outcome:
    return await run_turn(
        [*past, stored],
        room="!room",
        model=model,
        tools=tools or Bench(),
        store=store or Rows(),
        emit=(events if events is not None else []).append,
        rounds=rounds,
    )


THREE_ROUNDS = (
    Reply("first", (call("a"), call("b"), call("c")), Usage(10, 1)),
    Reply("", (call("d"),), Usage(20, 2)),
    Reply("done", (), Usage(30, 3)),
)
ROWS: tuple[Step, ...] = (
    PROMPT,
    Answer("first", THREE_ROUNDS[0].calls),
    ToolResult("a", "result of a"),
    ToolResult("b", "result of b"),
    ToolResult("c", "result of c"),
    Answer("", (call("d"),)),
    ToolResult("d", "result of d"),
)


async def test_a_turn_asks_runs_and_answers() -> None:
    model, tools, store = Script(THREE_ROUNDS), Bench(), Rows()
    events: list[Event] = []
    outcome = await run([PROMPT], model, tools, store, events=events)
    assert outcome == Outcome(Stop.DONE, Answer("done"), Usage(30, 3))
    assert sorted(tools.called) == ["a", "b", "c", "d"]
    assert set(map(str, store.rows)) == set(map(str, ROWS[1:]))
    assert store.usage == Usage(30, 3), "the last reply's is stored with the last step"
    assert all(is_valid(history) for history in model.asked)
    assert [event.text for event in events if isinstance(event, Said)] == ["first", "", "done"]


@given(st.integers(1, len(ROWS)), st.permutations(("a", "b", "c")))
def test_a_turn_goes_on_from_every_place_and_runs_nothing_again(length: int, ended: Sequence[str]) -> None:
    """`length` rows were stored when the daemon died; parallel calls had ended in any order."""
    rows = [*ROWS[:2], *(ToolResult(name, f"result of {name}") for name in ended), *ROWS[5:]]
    stored = rows[:length]
    model, tools, store = Script(THREE_ROUNDS), Bench(), Rows()
    events: list[Event] = []
    outcome = asyncio.run(run(stored, model, tools, store, events=events))
    assert outcome.last == Answer("done")
    assert all(is_valid(history) for history in model.asked)
    asked_for = {each.id for step in stored if isinstance(step, Answer) for each in step.calls}
    assert not asked_for & set(tools.called), "a call that may have run is not run again"
    assert len(tools.called) == len(set(tools.called))
    known = {step.call_id for step in stored if isinstance(step, ToolResult)}
    whole = [*stored, *store.rows]
    results = {step.call_id: step.text for step in whole if isinstance(step, ToolResult)}
    assert results == {
        name: UNKNOWN if name in asked_for - known else f"result of {name}" for name in ("a", "b", "c", "d")
    }
    assert len([step for step in whole if isinstance(step, ToolResult)]) == 4, "each result is stored once"
    started = [event.call.id for event in events if isinstance(event, ToolStarted)]
    finished = [event.result.call_id for event in events if isinstance(event, ToolFinished)]
    assert sorted(started) == sorted(finished) == ["a", "b", "c", "d"], "people see what was before the restart, too"


@given(st.integers(0, 60))
def test_a_turn_stopped_at_any_moment_leaves_a_history_that_goes_on(moments: int) -> None:
    async def stopped() -> None:
        store, model, tools = Rows([PROMPT]), Script(THREE_ROUNDS), Bench()
        work = asyncio.create_task(run([PROMPT], model, tools, store))
        for _ in range(moments):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work])
        rows = len(store.rows)
        store.rows.append(Answer("⏹ Stopped."))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(store.rows) == rows + 1, "nothing is stored behind the end"
        again = Script([Reply("yes")])
        await run([Prompt("still there?", ALICE)], again, past=[store.rows])
        [history] = again.asked
        assert is_valid(history)

    asyncio.run(stopped())


async def test_calls_of_one_reply_run_in_parallel_and_come_back_in_their_order() -> None:
    together = asyncio.get_running_loop().create_future()
    tools = Bench()

    def act(_: ToolCall) -> object:
        if len(tools.called) == 3:
            together.set_result(None)
        return together

    tools.act = act
    model = Script(THREE_ROUNDS)
    async with asyncio.timeout(PATIENCE):
        await run([PROMPT], model, tools)
    results = [step.call_id for step in model.asked[1] if isinstance(step, ToolResult)]
    assert results == ["a", "b", "c"]


async def test_not_more_calls_run_at_once_than_are_good_for_the_machine() -> None:
    running = 0
    most = 0

    class Counting(Bench):
        async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
            nonlocal running, most
            running += 1
            most = max(most, running)
            result = await super().call(call, emit)
            running -= 1
            return result

    many = tuple(call(f"call {number}") for number in range(3 * PARALLEL))
    tools = Counting()
    await run([PROMPT], Script([Reply("", many), Reply("done")]), tools)
    assert len(tools.called) == 3 * PARALLEL
    assert most == PARALLEL


async def test_each_result_is_stored_when_it_is_there_and_does_not_wait_for_the_others() -> None:
    slow = asyncio.get_running_loop().create_future()
    store = Rows()
    tools = Bench(lambda call: slow if call.id == "c" else None)
    work = asyncio.create_task(run([PROMPT], Script(THREE_ROUNDS), tools, store))
    for _ in range(20):
        await asyncio.sleep(0)
    assert {step.call_id for step in store.rows if isinstance(step, ToolResult)} == {"a", "b"}
    slow.set_result(None)
    await work


async def test_a_reply_is_stored_before_its_calls_run_and_results_before_the_end() -> None:
    store = Rows()
    tools = Bench(lambda call: store.rows.index(Answer("first", THREE_ROUNDS[0].calls)))  # raises where it is not
    await run([PROMPT], Script(THREE_ROUNDS), tools, store)
    assert {step.call_id for step in store.rows if isinstance(step, ToolResult)} == {"a", "b", "c", "d"}


async def test_the_rounds_end() -> None:
    for_ever = [Reply("", (call(f"call {number}"),)) for number in range(9)]
    outcome = await run([PROMPT], Script(for_ever), rounds=3)
    assert outcome.stop is Stop.ROUNDS
    assert "3 rounds" in outcome.last.text
    resumed = Script(for_ever)
    outcome = await run(ROWS, resumed, rounds=2)
    assert outcome.stop is Stop.ROUNDS
    assert not resumed.asked, "rounds of before a restart count"


async def test_a_history_that_is_too_long_is_halved_and_people_are_told_once() -> None:
    past: list[list[Step]] = [[Prompt("x" * 4000, ALICE), Answer("y" * 4000)] for _ in range(8)]
    model = Script([Reply("ok")], context_tokens=20_000, too_long_above=9)
    events: list[Event] = []
    assert (await run([PROMPT], model, past=past, events=events)).last == Answer("ok")
    lengths = [len(history) for history in model.asked]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] <= 9
    assert model.asked[-1][-1] == PROMPT
    assert all(is_valid(history) for history in model.asked)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == len(set(notes)) >= 1


async def test_a_model_that_finds_everything_too_long_is_given_up() -> None:
    model = Script([Reply("never")], too_long_above=0)
    with pytest.raises(ModelContext):
        await run([PROMPT], model)
    assert len(model.asked) == SHRINKS + 1


async def test_what_the_model_raises_reaches_the_caller_as_it_is() -> None:
    with pytest.raises(ModelAuth, match="no key"):
        await run([PROMPT], Script([THREE_ROUNDS[0], ModelAuth("no key")]))


async def test_a_journal_that_fails_ends_the_turn() -> None:
    class Full(Rows):
        async def add(self, step: Step, usage: Usage) -> None:
            if isinstance(step, ToolResult):
                raise OSError("full")
            await super().add(step, usage)

    with pytest.raises(OSError, match="full"):
        await run([PROMPT], Script(THREE_ROUNDS), store=Full())
