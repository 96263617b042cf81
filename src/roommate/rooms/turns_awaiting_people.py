"""Turns that wait for people: their messages show it, their commands' time stands still, their models read of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from roommate.domain import Asked, Emit, RoomId, Settled, ToolCall, ToolResult, Tools, ToolSpec
from roommate.store import Turn

OPEN = "nobody has answered yet; the question stays open, so try again later, or go on without it"


@dataclass(slots=True)
class _Question:
    about: str
    waiting: int = 1
    """How many programs of the turn wait for the answer; 0 when it is known, or waited for no more."""
    ended: str = ""


class WaitingTurn:
    """One that runs. It is `Clock` for its commands."""

    def __init__(self, turn: Turn, emit: Emit) -> None:
        self.turn = turn
        self.asked: list[_Question] = []
        """In order."""
        self._emit = emit
        self._open: dict[int, _Question] = {}
        self._goes, self._stands = asyncio.Event(), asyncio.Event()
        self._goes.set()

    @property
    def stopped(self) -> bool:
        return bool(self._open)

    async def until(self, *, stopped: bool) -> None:
        """See `Clock`."""
        await (self._stands if stopped else self._goes).wait()

    def begin(self, card: int, about: str, *, tell: bool = True) -> None:
        """Something in it waits for the answer to this card; `tell` its model of it."""
        if known := self._open.get(card):
            known.waiting += 1
            return
        self._open[card] = question = _Question(about)
        if tell:
            self.asked.append(question)
        self._goes.clear()
        self._stands.set()
        self._emit(Asked(card, about))

    def link(self, card: int, link: str) -> None:
        """Where the card is seen."""
        if question := self._open.get(card):
            self._emit(Asked(card, question.about, link))

    def end(self, card: int, how: str = "") -> None:
        """It is answered, and `how`; or one of those who wait has no more time."""
        if (question := self._open.get(card)) is None:
            return
        question.waiting = 0 if how else question.waiting - 1
        if question.waiting > 0:
            return
        question.ended = how or OPEN
        del self._open[card]
        if not self._open:
            self._stands.clear()
            self._goes.set()
        self._emit(Settled(card))


class WaitingTurns:
    """All that run."""

    def __init__(self) -> None:
        self._turns: dict[int, WaitingTurn] = {}

    def enter(self, turn: Turn, emit: Emit) -> None:
        self._turns[turn.id] = WaitingTurn(turn, emit)

    def leave(self, turn: Turn) -> None:
        self._turns.pop(turn.id, None)

    def of(self, turn: int | None) -> WaitingTurn | None:
        """None where that does not run."""
        return self._turns.get(turn or 0)

    def find(self, room_id: RoomId, turn: int | None) -> WaitingTurn | None:
        """The one that a program of a room says it belongs to; the room's newest where it does not say, for not all
        know."""
        found = [one for one in self._turns.values() if one.turn.room_id == room_id]
        return next((one for one in found if one.turn.id == turn), found[-1] if found else None)

    def ended(self, card: int, how: str) -> None:
        """A card was answered, or is over."""
        for one in self._turns.values():
            one.end(card, how)


class TellingTools:
    """`Tools` whose results say what people were asked while they ran, and what came of it."""

    def __init__(self, tools: Tools, turn: WaitingTurn) -> None:
        self._tools, self._turn = tools, turn

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return self._tools.specs

    def title(self, call: ToolCall) -> str:
        return self._tools.title(call)

    def goes_on(self, call: ToolCall) -> bool:
        return self._tools.goes_on(call)

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        before = [question for question in self._turn.asked if question.waiting]
        seen = len(self._turn.asked)
        result = await self._tools.call(call, emit)
        lines = [
            f"[people were asked about {question.about} while this ran: {question.ended or OPEN}]"
            for question in (*before, *self._turn.asked[seen:])
        ]
        return replace(result, text="\n".join([result.text, *lines])) if lines else result
