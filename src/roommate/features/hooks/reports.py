"""What hooks in a room report: shown in the message of their turn, else as a notice; what they ask is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from roommate.chat import texts, turn_view
from roommate.domain import CardKind, Draft, HookEvent, HookKind, Question, RoomId, UserId
from roommate.features.hooks.agent_action_card import NAME, SHOWN, WHOLE, hook_card
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.rooms.question_limit import QuestionLimit
from roommate.rooms.questions import Decide, Questions
from roommate.rooms.running_turn import RunningTurn
from roommate.sandbox.container import Spools
from roommate.store import Card, Cards, Heard, Ipc, hook_reports
from roommate.store.hook_reports import MOST_AT_ONCE
from roommate.text.printable import in_code, one_line

APPROVAL_SECONDS = 290
"""How long a card stands, from when it was asked: the hook itself waits for 300 s."""

NOTICE_SECONDS = 10
"""Between two notices of a room's hooks: what comes in the meantime is in the next one."""

NOTICE_LINES = 20
ABOUT = 60
"""Characters of a command that its turn's message shows while it waits."""


class Hooks:
    """Of one room. Call `listen` when something may have come; `again` is called when it is to be called later."""

    def __init__(
        self,
        room_id: RoomId,
        again: Callable[[], None],
        log: Ipc,
        cards: Cards,
        spool: Spools,
        questions: Questions,
        progress: Progress,
    ) -> None:
        self._room_id, self._again = room_id, again
        self._log, self._cards, self._spool = log, cards, spool
        self._questions, self._progress = questions, progress
        self._quiet_until = 0.0
        self._limit = QuestionLimit()

    async def listen(self, running: Sequence[RunningTurn]) -> None:
        """Deal with what waits, where these turns run, the newest last."""
        waiting = await self._log.waiting(self._room_id)
        for heard in waiting:
            if heard.event.kind is HookKind.APPROVAL:
                await self._ask(heard, _turn_of(heard, running))
        if len(waiting) == MOST_AT_ONCE and not any(turn.closing for turn in running):
            self._again()
        for turn in running:
            its_own = [heard for heard in waiting if _turn_of(heard, running) is turn]
            if its_own and not turn.closing:
                for heard in its_own:
                    turn.emit(heard.event)
                await self._log.shown([heard.id for heard in its_own], turn.turn.id)
        if waiting and not running:
            await self._tell(waiting)

    async def _tell(self, waiting: Sequence[Heard]) -> None:
        """No turn runs: what matters of it is told in a notice."""
        loop = asyncio.get_running_loop()
        told = [heard for heard in waiting if heard.event.kind in (HookKind.RESULT, HookKind.NOTIFICATION)]
        untold = [heard.id for heard in waiting if heard.event.kind not in (HookKind.RESULT, HookKind.NOTIFICATION)]
        if told and loop.time() < self._quiet_until:
            loop.call_at(self._quiet_until, self._again)
            await self._log.shown(untold)
            return
        if told:
            self._quiet_until = loop.time() + NOTICE_SECONDS
        await self._log.shown([heard.id for heard in waiting], drafts=[await self._notice(told)] if told else [])
        self._progress.wake()

    async def _ask(self, heard: Heard, of: RunningTurn | None) -> None:
        """Put up a card, in the thread of its turn; or refuse the hook at once."""
        event = heard.event
        turn, thread = (of.turn.id, of.turn.thread) if of else (None, None)
        if refusal := await self._refusal(event):
            verdict = {"asks": event.asks, "allow": False, "by": "", "reason": refusal}
            await self._spool.answer(self._room_id, event.asks, verdict)
            await self._log.shown([heard.id], turn)
            return
        shown = hook_reports.showing([heard.id], turn)
        asker = of.turn.asked_by if of else None
        asked = replace(question(event), turn=turn, asker=asker)
        card = await self._questions.put_up(self._room_id, asked, thread=thread, along=shown)
        self._questions.wait_for(card, asked)

    async def _refusal(self, event: HookEvent) -> str:
        """Why people are not asked, for the agent; empty when they are."""
        if _left(event) <= 0:  # it has gone on without an answer, while no daemon ran
            return "nobody could be asked in time"
        if len(event.command) > WHOLE:
            return f"people are shown {WHOLE} characters of a command at most: put it into a script, and run that"
        standing = await self._cards.standing(self._room_id, CardKind.HOOK)
        if not self._limit.take(standing, asyncio.get_running_loop().time()):
            return "people were asked too much here: go on without it, and say what you need"
        return ""

    async def _notice(self, told: list[Heard]) -> Draft:
        lines = [turn_view.hook_notice(heard.event) for heard in told[:NOTICE_LINES]]
        if len(told) > NOTICE_LINES:
            lines.append(f"… and {len(told) - NOTICE_LINES} more.")
        content, _ = await render.drawn("\n\n".join(lines), notice=True)
        return Draft(self._room_id, content)


def _left(event: HookEvent) -> float:
    """Seconds in which an answer still reaches who asks."""
    return APPROVAL_SECONDS - (time.time() - event.asked_at if event.asked_at else 0)


def _turn_of(heard: Heard, running: Sequence[RunningTurn]) -> RunningTurn | None:
    """The turn that it names; the newest where it names none that runs, for not all say what started them."""
    named = [turn for turn in running if turn.turn.id == heard.event.turn]
    return next(iter([*named, *reversed(running)]), None)


def question(event: HookEvent) -> Question:
    """The card for an approval request."""
    card = hook_card(event)
    return Question(
        CardKind.HOOK,
        card.text,
        hint=card.hint,
        about=one_line(event.command, ABOUT) or event.tool,
        details=card.details,
        subject=f"{event.asks} {event.text}: {one_line(event.command, SHOWN)}",
        choices=card.choices,
        seconds=_left(event),
    )


def decider(spool: Spools) -> Decide:
    """Gives the choice to the hook that waits for it."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        asks, _, about = card.subject.partition(" ")
        risk = about.partition(":")[0]
        allow = choice in (texts.YES, texts.ALWAYS)
        verdict = {"asks": asks, "allow": allow, "by": by, "reason": "" if allow else f"{by} said no"}
        await spool.answer(card.room_id, asks, verdict, allow=risk if choice == texts.ALWAYS else "")
        return f"as is all of the kind {in_code(risk, NAME)} in this room" if choice == texts.ALWAYS else ""

    return decide
