"""The live message: the one message of a turn, put up when there is something to see, edited while the turn runs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from roommate.agent.turn import Outcome
from roommate.chat.turn_view import View
from roommate.domain import TURN, Attachment, Draft, Event, EventId, JsonObject, Rank, RoomId, Stop, ToolResult
from roommate.errors import StateError
from roommate.host import deadlines
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.store import Turn, Turns

log = logging.getLogger(__name__)

MOST_ANSWER = 6000
"""Characters of an answer that chat shows whole: nobody reads more of it there, least of all on a phone."""
IN_THE_FILE = "*… the whole answer is in the file below.*"
MOST_ALSO = 200
"""Events that a message says it answers: it has a limit, and who sends more to one turn is no person."""
UNDRAWN = "⚠️ My answer could not be shown: it is in the file below."

BEATS = (5.0, 10.0)
BEAT = 30.0
"""Seconds between two looks that show no more than that a turn goes on: the first two are sooner."""
HOLD = 0.06
"""Seconds before a turn shows a message: an answer that comes sooner is one event instead of three."""


class LiveMessage:
    """Takes a turn's events and shows them; gives the drafts that end it."""

    def __init__(
        self,
        turn: Turn,
        reply_to: EventId | None,
        turns: Turns,
        progress: Progress,
        name: Callable[[RoomId, str], Awaitable[str]],
    ) -> None:
        """`name` is what people call somebody in a room."""
        self._name = name
        self._turn = turn
        self._reply_to = reply_to
        self._turns = turns
        self._progress = progress
        self._view = View(turn.started, turn.usage)
        self._row = turn.live
        self._putting_up = asyncio.Lock()
        self._over = asyncio.Event()
        self._unseen = False
        self._drawn_at = 0.0
        self._up = asyncio.Event()

    @property
    def row(self) -> int | None:
        """Its outbox id, None before it was put up."""
        return self._row

    def be_verbose(self) -> None:
        """Show the words of thoughts and of tools' arguments from now on."""
        self._view.verbose = True

    def emit(self, event: Event) -> None:
        self._view.apply(event)
        self._unseen = True
        if self._row is not None:
            self._progress.progress(self._turn.room_id, self._row, self._look)

    async def up(self) -> None:
        """Returns when it was put up, or could not be: what is sent from now on stands below it."""
        await self._up.wait()

    def stop(self) -> Sequence[ToolResult]:
        """People end the turn: see `View.stop`."""
        return self._view.stop()

    async def beat(self) -> None:
        """Show, now and then, that a turn goes on that has nothing new to show."""
        for wait in itertools.chain(BEATS, itertools.repeat(BEAT)):
            await asyncio.sleep(wait)
            if self._row is not None and time.monotonic() - self._drawn_at > BEATS[0] / 2:
                self._progress.progress(self._turn.room_id, self._row, self._look, beat=True)

    async def appear(self) -> None:
        """Put the message up, after HOLD, unless `close` comes sooner.

        Not to be cancelled in a turn that goes on to its end: a message may then be up that nobody knows of.
        """
        with contextlib.suppress(TimeoutError):
            async with deadlines.within(HOLD):
                await self._over.wait()
        async with self._putting_up:
            if self._over.is_set():
                return
            self._unseen = self._row is not None  # one of before a restart shows what was then
            if self._row is None:
                try:
                    sign = Draft(self._turn.room_id, await self._look(), Rank.SIGN)
                    self._row = await self._turns.show(self._turn, sign)
                except StateError as error:  # a full disk: there is an answer in the end, when it has room
                    log.error("%s", error)
                    return
                finally:
                    self._up.set()
                self._progress.wake()
            self._up.set()
        if self._unseen:
            self._progress.progress(self._turn.room_id, self._row, self._look)

    async def close(self, outcome: Outcome, also: Sequence[EventId] = ()) -> Sequence[Draft]:
        """What people read in the end: the answer in the live message, or as a message where none was put up yet. It
        answers the prompt, and `also` these events."""
        self._over.set()
        async with self._putting_up:
            pass
        text = outcome.last.text or "Done."
        await self._call_by_name()
        try:
            details = self._view.details(time.time(), answered=outcome.stop is Stop.DONE)
            content, whole = await self._drawn(
                text, mentions=[self._turn.asked_by], details=details, most=MOST_ANSWER, rest=IN_THE_FILE
            )
        except Exception:  # it would end the daemon, and each further one that takes the turn up again
            log.exception("the answer of turn %d could not be drawn", self._turn.id)
            content, whole = {"msgtype": "m.text", "body": UNDRAWN, "m.mentions": {}}, text.encode(errors="replace")
        content[TURN] = self._about(str(outcome.stop)) | ({"also": list(also[:MOST_ALSO])} if also else {})
        if self._row is not None:
            self._progress.forget(self._row)
        drafts = [Draft(self._turn.room_id, content, edits=self._row)]
        if whole is not None:
            drafts.append(self._attachment(whole))
        return drafts

    def plain(self, outcome: Outcome) -> Draft:
        """How it ended, and no more: where `close` fails, or what it gave cannot be stored."""
        self._over.set()
        if self._row is not None:
            self._progress.forget(self._row)
        content = {"msgtype": "m.text", "body": outcome.last.text, "m.mentions": {}}
        return Draft(self._turn.room_id, {**content, TURN: self._about(str(outcome.stop))}, edits=self._row)

    async def _look(self) -> JsonObject:
        self._drawn_at = time.monotonic()
        await self._call_by_name()
        try:
            content, _ = await self._drawn(self._view.live(time.time()), notice=True)
        except Exception:  # as in `close`
            log.exception("turn %d could not be drawn", self._turn.id)
            content = {"msgtype": "m.notice", "body": "⚙️ working", "m.mentions": {}}
        content[TURN] = self._about("running")
        return content

    async def _call_by_name(self) -> None:
        """Those who have spoken to the turn."""
        while self._view.unnamed:
            line = self._view.unnamed.pop()
            line.name = await self._name(self._turn.room_id, line.sender)

    async def _drawn(self, markdown: str, **how: Any) -> tuple[JsonObject, bytes | None]:
        return await render.drawn(markdown, thread=self._turn.thread, reply_to=self._reply_to, **how)

    def _about(self, state: str) -> JsonObject:
        return {"id": self._turn.id, "state": state, "prompt": self._turn.prompt_event}

    def _attachment(self, whole: bytes) -> Draft:
        file = Attachment(f"answer-{self._turn.id}.md", whole, "text/markdown")
        return Draft(self._turn.room_id, render.attachment(file, thread=self._turn.thread), upload=whole)
