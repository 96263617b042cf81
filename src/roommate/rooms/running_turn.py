"""A turn that runs: it works, shows that it does, can be stopped, and stores how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from roommate import logs
from roommate.agent.prompt import Surroundings
from roommate.agent.shell_line_model import COMMAND
from roommate.agent.turn import Outcome, run_turn
from roommate.agent.window import MOST_CHARACTERS
from roommate.chat import texts
from roommate.domain import (
    Answer,
    Event,
    Hand,
    Model,
    Note,
    Prompt,
    RoomId,
    Step,
    Stop,
    ToolResult,
    Tools,
    Usage,
    UserId,
)
from roommate.errors import ModelError
from roommate.monitoring.counts import Counts
from roommate.rooms import plan_card
from roommate.rooms.live_message import LiveMessage
from roommate.rooms.live_message_port import Progress
from roommate.rooms.messages_to_running_turn import SILENCE, Breath, TurnLines, stored
from roommate.rooms.prompt_pictures import with_pictures
from roommate.rooms.questions import Questions
from roommate.rooms.token_budget import TokenBudget
from roommate.rooms.turns_awaiting_people import WaitingTurns
from roommate.rooms.typing_notice import TypingNotice
from roommate.settings.config import Settings
from roommate.store import Turn, Turns, Work
from roommate.store.messages_to_running_turn import is_event

log = logging.getLogger(__name__)

VERBOSE = "verbose"
"""A room's own setting: the words of its model's thinking are shown."""
TYPING_AFTER = 0.015
"""Seconds of work before the bot is shown as typing: an answer that comes sooner is not slowed down by it."""


@dataclass(frozen=True, slots=True)
class TurnNeeds:
    """What a turn needs to run, of any room."""

    turns: Turns
    progress: Progress
    counts: Counts
    model: Callable[[str], Model]
    tools: Callable[[Turn, Callable[[], Awaitable[None]]], Awaitable[Tools]]
    """Of a turn, given what waits until its message is up."""
    surroundings: Callable[[RoomId], Awaitable[Surroundings]]
    hand: Callable[[RoomId], Awaitable[Hand]]
    settings: Callable[[], Settings]
    questions: Questions
    name: Callable[[RoomId, str], Awaitable[str]]
    """What people call somebody there."""
    waiting: WaitingTurns
    budget: TokenBudget
    own: Callable[[RoomId], Awaitable[Mapping[str, str]]]
    """What is set for a room alone."""


class RunningTurn:
    """`start` it once; `over` is called when how it ended is stored. One that goes on after a restart `resumes` with
    what its message has shown of hooks."""

    def __init__(
        self,
        turn: Turn,
        needs: TurnNeeds,
        typing: TypingNotice,
        *,
        replies: bool,
        over: Callable[[], None],
        resumes: Sequence[Event] | None = None,
        breath: Breath = SILENCE,
    ) -> None:
        self.turn = turn
        self.silent = False
        """Nobody is there to read how it ends."""
        self._needs = needs
        self._typing = typing
        self._over, self._resumes = over, resumes
        reply_to = turn.prompt_event if replies and is_event(turn.prompt_event) else None
        self._live = LiveMessage(turn, reply_to, needs.turns, needs.progress, needs.name)
        self._work: asyncio.Task[Outcome] | None = None
        self._through: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self.lines = TurnLines(
            needs.turns, turn, breath, needs.progress.wake, self._seeing, resumed=resumes is not None
        )
        self._stopped_by: UserId | None = None
        self._along: Work[object] | None = None
        self._was_stopped = False
        self._slow = False
        """It takes so long that people see the bot as typing."""
        self.closing = False
        """Its message takes no more."""

    @property
    def row(self) -> int | None:
        """Outbox id of its message, None before that is put up."""
        return self._live.row

    @property
    def begun(self) -> bool:
        return self._work is not None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run in this group."""
        with logs.about(turn=self.turn.id):
            self._needs.waiting.enter(self.turn, self._live.emit)
            if self._resumes is not None:
                log.info("goes on after a restart")
                for event in (Note(texts.RESUMED), *self._resumes):
                    self._live.emit(event)
            self._work = group.create_task(self._run())
            self._through = group.create_task(self._see_through(self._work))

    def emit(self, event: Event) -> None:
        """Show more in the turn's message."""
        self._live.emit(event)

    async def stop(self, by: UserId, along: Work[object] | None = None) -> bool:
        """Stop, now, and wait until its end is stored, and in the same transaction what is to be done `along` with it;
        False when it came to its end otherwise, or somebody else stops it: then nothing of that is done."""
        ours = self._stopped_by is None and self._work is not None and self._work.cancel()
        if ours:
            self._stopped_by, self._along = by, along
        await self._ended.wait()
        return ours and self._was_stopped

    async def halt(self) -> None:
        """End it as the daemon's own end does: it is unfinished, and can be taken up again."""
        tasks = [task for task in (self._through, self._work) if task]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._ended.set()  # who stops it meanwhile does not wait for ever
        if (row := self._live.row) is not None:
            self._needs.progress.forget(row)

    async def _see_through(self, work: asyncio.Task[Outcome]) -> None:
        """See it to its end. Where what it came to cannot be told or stored, that is its end, and where not even that
        can be stored, the next start takes it up again: the room goes on, and so do the others."""
        try:
            await self._to_its_end(work)
        except Exception:
            log.exception("how it ended is not known")
            if self._ended.is_set():
                return
            work.cancel()
            await asyncio.wait([work])
            self.closing, self._was_stopped = True, False
            lost = Outcome(Stop.FAILED, Answer(texts.broken(f"turn {self.turn.id}")))
            drafts = () if self.silent else [self._live.plain(lost)]
            try:
                await stored(lambda: self._needs.turns.end(self.turn, lost.stop, lost.last, lost.usage, drafts))
            except Exception:
                log.exception("it is taken up again by the next start")
            self._let_go()

    async def _to_its_end(self, work: asyncio.Task[Outcome]) -> None:
        """Show signs of the turn while it works, then store and show how it ended."""
        needs, turn = self._needs, self.turn
        async with asyncio.TaskGroup() as signs:
            signs.create_task(self._live.appear())
            moving = [signs.create_task(self._show_typing()), signs.create_task(self._live.beat())]
            await asyncio.wait([work])
            for sign in moving:
                sign.cancel()
            self._was_stopped = work.cancelled()
            stopped: Sequence[ToolResult] = ()
            if self._was_stopped:
                stopped = self._live.stop()
                outcome = Outcome(Stop.STOPPED, Answer(await self._said_stopped()))
            else:
                outcome = work.result()
            self.closing = True
            also = await self.lines.events()
            drafts = await self._live.close(outcome, also)
        said = () if self.silent else drafts
        needs.counts.turn(outcome.stop, time.time() - turn.started)
        along = self._along if self._was_stopped else None
        if turn.plans and outcome.stop is Stop.DONE:
            along = needs.questions.putting(turn.room_id, plan_card.question(turn), turn.thread)
        await stored(lambda: needs.turns.end(turn, outcome.stop, outcome.last, outcome.usage, said, along, stopped))
        self._let_go()
        needs.questions.wake()
        await self._end_questions(stopped=self._was_stopped)
        if outcome.stop is not Stop.BUDGET:  # which has said it
            await stored(lambda: needs.budget.look(turn.room_id))
        if self._slow:
            await self._typing.take_off()

    def _let_go(self) -> None:
        """Its end is stored: the conversation goes on."""
        self._needs.waiting.leave(self.turn)
        self._over()
        self._ended.set()

    async def _end_questions(self, *, stopped: bool) -> None:
        await stored(lambda: self._needs.questions.turn_over(self.turn, stopped))

    async def _said_stopped(self) -> str:
        return texts.stopped(await self._needs.name(self.turn.room_id, self._stopped_by or "nobody"))

    async def _run(self) -> Outcome:
        """Whatever happens in a turn ends the turn, and nothing else."""
        needs, turn = self._needs, self.turn
        try:
            if self._resumes is not None:
                await self._end_questions(stopped=False)
            model = needs.model(turn.model)
            if VERBOSE in await needs.own(turn.room_id):
                self._live.be_verbose()
            limited = turn.model != COMMAND and await needs.budget.limit(turn.room_id)
            conversation = await needs.turns.conversation(turn, MOST_CHARACTERS * model.context_tokens)
            return await run_turn(
                await with_pictures(conversation, turn.room_id, needs.hand),
                room=turn.room_id,
                model=model,
                tools=await needs.tools(turn, self._live.up),
                store=_StepStore(needs.turns, turn),
                emit=self._live.emit,
                rounds=needs.settings().max_agent_turns,
                around=replace(await needs.surroundings(turn.room_id), plans=turn.plans),
                lines=self.lines,
                over=self._why_not if limited else None,
            )
        except ModelError as error:
            log.warning("%s", error)
            return Outcome(Stop.FAILED, Answer(f"⚠️ {error}"))
        except Exception:
            log.exception("failed")
            return Outcome(Stop.FAILED, Answer(texts.broken(f"turn {turn.id}")))

    async def _seeing(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        [seen] = await with_pictures([prompts], self.turn.room_id, self._needs.hand)
        return [step for step in seen if isinstance(step, Prompt)]

    async def _why_not(self) -> str:
        """Why the model is not asked any more; where it is, the room knows when little is left."""
        if not (why := await self._needs.budget.over(self.turn.room_id)):
            await self._needs.budget.look(self.turn.room_id)
        return why

    async def _show_typing(self) -> None:
        await asyncio.sleep(TYPING_AFTER)
        self._slow = True
        await self._typing.show()


class _StepStore:
    """The steps of one turn; implements agent.turn.StepStore. A full disk holds the turn up, and ends nothing."""

    def __init__(self, turns: Turns, turn: Turn) -> None:
        self._turns = turns
        self._turn = turn
        self._in_order = asyncio.Lock()

    async def add(self, step: Step, usage: Usage) -> None:
        async with self._in_order:  # also when one of them has to be tried again
            await stored(lambda: self._turns.add(self._turn, step, usage))
