"""What hooks in a room report: shown in the message of the running turn, else as a notice; what they ask is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roommate.chat import view, voice
from roommate.house import House
from roommate.matrix import render
from roommate.ports import Spools
from roommate.questions import Decide
from roommate.running import RunningTurn
from roommate.store import Card, Heard, ipc
from roommate.store.ipc import MOST_AT_ONCE
from roommate.words import Draft, HookEvent, HookKind, Question, RoomId, UserId

ASKED_BY_HOOK = "hook"

APPROVAL_SECONDS = 290
"""How long a card stands: the hook itself waits for 300 s."""

NOTICE_SECONDS = 10
"""Between two notices of a room's hooks: what comes in the meantime is in the next one."""

NOTICE_LINES = 20


class Hooks:
    """Of one room. Call `listen` when something may have come; `again` is called when it is to be called later."""

    def __init__(self, room_id: RoomId, house: House, again: Callable[[], None]) -> None:
        self._room_id = room_id
        self._house = house
        self._again = again
        self._quiet_until = 0.0

    async def listen(self, running: RunningTurn | None) -> None:
        """Deal with what waits."""
        house, loop = self._house, asyncio.get_running_loop()
        waiting = await house.ipc.waiting(self._room_id)
        for heard in waiting:
            if heard.event.kind is HookKind.APPROVAL:
                shown = ipc.showing([heard.id], running.turn.id if running else None)
                await house.questions.put_up(self._room_id, question(heard.event), along=shown)
        if not waiting or (running is not None and running.closing):
            return
        if len(waiting) == MOST_AT_ONCE:
            self._again()
        if running is not None:
            for heard in waiting:
                running.emit(heard.event)
            await house.ipc.shown([heard.id for heard in waiting], running.turn.id)
            return
        told = [heard for heard in waiting if heard.event.kind in (HookKind.RESULT, HookKind.NOTIFICATION)]
        untold = [heard.id for heard in waiting if heard not in told]
        if told and loop.time() < self._quiet_until:
            loop.call_at(self._quiet_until, self._again)
            await house.ipc.shown(untold)
            return
        if told:
            self._quiet_until = loop.time() + NOTICE_SECONDS
        await house.ipc.shown([heard.id for heard in waiting], drafts=[self._notice(told)] if told else [])
        house.progress.wake()

    def _notice(self, told: list[Heard]) -> Draft:
        lines = [view.hook_notice(heard.event) for heard in told[:NOTICE_LINES]]
        if len(told) > NOTICE_LINES:
            lines.append(f"… and {len(told) - NOTICE_LINES} more.")
        return Draft(self._room_id, render.content("\n\n".join(lines), notice=True))


def question(event: HookEvent) -> Question:
    """The card for an approval request."""
    return Question(
        ASKED_BY_HOOK,
        voice.hook_card(view.plain(event.agent), view.hook_call(event), event.text),
        subject=f"{event.asks} {event.text}",
        choices=(voice.YES, voice.ALWAYS, voice.NO),
        seconds=APPROVAL_SECONDS,
    )


def decider(spool: Spools) -> Decide:
    """Gives the choice to the hook that waits for it."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        asks, _, risk = card.subject.partition(" ")
        allow = choice in (voice.YES, voice.ALWAYS)
        verdict = {"asks": asks, "allow": allow, "by": by, "reason": "" if allow else f"{by} said no"}
        await spool.answer(card.room_id, asks, verdict, allow=risk if choice == voice.ALWAYS else "")
        if choice == voice.ALWAYS:
            return f"{by} allowed this, and all of its kind ({risk}) in this room from now on."
        return f"{by} allowed it." if allow else f"{by} said no."

    return decide
