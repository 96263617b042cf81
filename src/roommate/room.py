"""One room: takes its inbox in order, runs one turn at a time, and says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from roommate import agents
from roommate.agent.turn import Outcome, run_turn
from roommate.chat import commands, voice
from roommate.config import REHEARSAL
from roommate.errors import ModelError, Refused, RoommateError, StateError, Transient
from roommate.hooks import Hooks
from roommate.house import House, Running
from roommate.live import LiveMessage
from roommate.matrix import render
from roommate.orders import Orders
from roommate.store import RoomRow, Turn, Turns, Waiting, mark_of
from roommate.words import (
    Answer,
    Arrived,
    Draft,
    EventId,
    Gone,
    Invite,
    Message,
    Note,
    Prompt,
    Rank,
    Reaction,
    RoomId,
    Step,
    Stop,
    Unreadable,
    Usage,
    UserId,
)

log = logging.getLogger(__name__)

TYPING_AFTER = 0.015
"""Seconds of work before the bot is shown as typing: an answer that comes sooner is not slowed down by it."""

TYPING_SECONDS = 20
"""How often the typing notice is renewed; the homeserver takes it off 30 s after the last."""

STATE_RETRY_SECONDS = 5


class Room:
    """Run `run()`; call `wake()` when the inbox has something new for this room."""

    def __init__(self, room_id: RoomId, house: House) -> None:
        self.room_id = room_id
        self.running: Running | None = None
        self.gone = False
        self._house = house
        self._orders = Orders(self, house)
        self._hooks = Hooks(room_id, house, self.wake)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    @property
    def woken(self) -> bool:
        """Something came in that `run` has not looked at."""
        return self._woken.is_set()

    async def run(self) -> None:
        """Until the bot is out of the room, and all of that is dealt with."""
        async with asyncio.TaskGroup() as group:
            if unfinished := await self._house.turns.unfinished(self.room_id):
                row = await self._house.rooms.get(self.room_id)
                told = await self._house.ipc.of_turn(unfinished[0].id)
                running = self._start(group, *unfinished, resumed=True, crowded=row.joined > 2)
                for event in told:
                    running.emit(event)
            while not self.gone:
                self._woken.clear()
                try:
                    row = await self._house.rooms.get(self.room_id)
                    for waiting in await self._house.inbox.waiting(self.room_id):
                        await self._survive(group, waiting, row)
                    await self._listen()
                    if row.membership == "join" and row.joined == 1:
                        await self._leave_empty()
                except StateError as error:  # a full disk, most likely: what is stored waits there for better times
                    log.error("%s: %s", self.room_id, error)
                    await asyncio.sleep(STATE_RETRY_SECONDS)
                    continue
                await self._woken.wait()

    async def stop_turn(self, by: UserId) -> bool:
        """Stop what runs, now; True when something ran."""
        running = self.running
        if running is None or running.work is None:
            return False
        running.stopped_by = by
        running.work.cancel()
        await asyncio.wait([running.work])
        return True

    def say(self, markdown: str, thread: EventId | None = None) -> Draft:
        """A notice of the bot itself."""
        return Draft(self.room_id, render.content(markdown, notice=True, thread=thread))

    async def _survive(self, group: asyncio.TaskGroup, waiting: Waiting, row: RoomRow) -> None:
        """Handle one row; whatever goes wrong with it, the next one is handled as well."""
        try:
            await self._handle(group, waiting, row)
        except StateError:
            raise
        except RoommateError as error:
            log.warning("%s: %s", self.room_id, error)
            await self._done(waiting, self.say(f"⚠️ {error}"))
        except Exception:
            log.exception("%s: inbox row %d was not handled", self.room_id, waiting.seq)
            apology = f"⚠️ Something went wrong inside of Roommate; its log has it under inbox row {waiting.seq}."
            await self._done(waiting, self.say(apology))

    async def _listen(self) -> None:
        """What hooks say comes from a hostile place: whatever goes wrong with it, the room goes on."""
        try:
            await self._hooks.listen(self.running)
        except StateError:
            raise
        except Exception:
            log.exception("%s: what hooks reported was not shown", self.room_id)

    async def _handle(self, group: asyncio.TaskGroup, waiting: Waiting, row: RoomRow) -> None:
        incoming = waiting.incoming
        match incoming.what:
            case Message() as message:
                await self._message(group, waiting, message, row)
            case Reaction(target, key):
                await self._orders.decide(waiting, target, key)
            case Invite():
                await self._invited(waiting)
            case Arrived():
                model = row.model or self._house.settings.llm_model
                text = voice.greeting(model, encrypted=row.encrypted, rehearsal=model == REHEARSAL)
                await self._done(waiting, self.say(text))
            case Unreadable():
                once = Draft(
                    self.room_id, render.content(voice.CANNOT_READ, notice=True), once=f"unreadable:{self.room_id}"
                )
                await self._done(waiting, once)
            case Gone(reason):
                await self._leave(waiting, reason)
            case _:
                await self._done(waiting)

    async def _message(self, group: asyncio.TaskGroup, waiting: Waiting, message: Message, row: RoomRow) -> None:
        incoming = waiting.incoming
        to_us = message.reply_to is not None and await self._house.outbox.is_ours(message.reply_to)
        settings = self._house.settings
        if not commands.meant_for(
            message, settings.bot, people=row.joined, to_us=to_us, everything=settings.answer_everything
        ):
            await self._done(waiting)
            return
        if not settings.is_allowed(incoming.sender):
            await self._turn_away(waiting)
            return
        text = commands.without_mention(message.text, commands.names_of(settings.bot))
        command = commands.parse(text)
        direct = agents.asked_directly(command)
        if message.attachment is not None:
            await self._done(waiting, self.say(voice.TEXT_ONLY, message.thread))
        elif command and not direct:
            await self._orders.obey(waiting, command, message.thread, row)
        elif not text.strip():
            await self._done(waiting, self.say("Yes? Tell me what to do; `!help` shows what I understand."))
        elif self.running is not None:
            if not waiting.queued:
                await self._house.inbox.queue(waiting.seq, self._mark(waiting))
                self._house.progress.wake()
        else:
            model, task = direct or (row.model or settings.llm_model, text)
            prompt = Prompt(task, incoming.sender)
            begun = await self._house.turns.begin(waiting.seq, self.room_id, message.thread, prompt, model)
            if begun:
                self._start(group, *begun, resumed=False, crowded=row.joined > 2)

    def _start(
        self,
        group: asyncio.TaskGroup,
        turn: Turn,
        conversation: Sequence[Sequence[Step]],
        *,
        resumed: bool,
        crowded: bool,
    ) -> Running:
        reply_to = turn.prompt_event if crowded else None
        live = LiveMessage(turn, reply_to, self._house.turns, self._house.progress)
        self.running = running = Running(turn, live.emit)
        group.create_task(self._run_turn(running, conversation, live, resumed=resumed))
        return running

    async def _run_turn(
        self, running: Running, conversation: Sequence[Sequence[Step]], live: LiveMessage, *, resumed: bool
    ) -> None:
        turn, house = running.turn, self._house
        if resumed:
            log.info("%s: turn %d goes on after a restart", self.room_id, turn.id)
            live.emit(Note("The daemon restarted; this turn goes on where it was."))
        async with asyncio.TaskGroup() as group:
            signs = [group.create_task(live.appear()), group.create_task(self._typing(running))]
            running.work = group.create_task(self._work(turn, conversation, live))
            await asyncio.wait([running.work])
            for sign in signs:
                sign.cancel()
        if running.work.cancelled():
            outcome = Outcome(Stop.STOPPED, Answer(f"⏹ Stopped by {running.stopped_by}."))
        else:
            outcome = running.work.result()
        running.closing = True
        drafts = () if running.silent else await live.close(outcome)
        await _stored(lambda: house.turns.end(turn, outcome.stop, outcome.last, outcome.usage, drafts))
        self.running = None
        self.wake()
        house.progress.wake()
        if running.typing:
            await house.progress.typing(self.room_id, False)

    async def _work(self, turn: Turn, conversation: Sequence[Sequence[Step]], live: LiveMessage) -> Outcome:
        house = self._house
        try:
            return await run_turn(
                conversation,
                room=self.room_id,
                model=house.model(turn.model),
                tools=house.tools(self.room_id),
                journal=_Journal(house.turns, turn),
                emit=live.emit,
                rounds=house.settings.max_agent_turns,
                around=await agents.surroundings(self.room_id, house),
            )
        except ModelError as error:
            log.warning("%s: turn %d: %s", self.room_id, turn.id, error)
            return Outcome(Stop.FAILED, Answer(f"⚠️ {error}"))
        except Exception:
            log.exception("%s: turn %d failed", self.room_id, turn.id)
            return Outcome(
                Stop.FAILED,
                Answer(f"⚠️ Something went wrong inside of Roommate; its log has it under turn {turn.id}. Write again."),
            )

    async def _typing(self, running: Running) -> None:
        """The first sign of life, until cancelled."""
        await asyncio.sleep(TYPING_AFTER)
        running.typing = True
        while True:
            await self._house.progress.typing(self.room_id, True)
            await asyncio.sleep(TYPING_SECONDS)

    async def _invited(self, waiting: Waiting) -> None:
        inviter = waiting.incoming.sender
        settings = self._house.settings
        try:
            if settings.is_allowed(inviter):
                log.info("%s: joining, invited by %s", self.room_id, inviter)
                await _patiently(lambda: self._house.doors.join(self.room_id))
            else:
                log.warning("%s: invite of %s declined, who is not on the list", self.room_id, inviter)
                reason = voice.declined(settings.operator_ids)
                await _patiently(lambda: self._house.doors.leave(self.room_id, reason))
        except Refused as error:  # the invite was taken back, most likely
            log.warning("%s: the invite of %s came to nothing: %s", self.room_id, inviter, error)
        await self._done(waiting)

    async def _leave_empty(self) -> None:
        """Everybody else has left: leave as well; the sync that says so cleans up."""
        log.info("%s: everybody has left, leaving", self.room_id)
        with contextlib.suppress(Refused):
            await _patiently(lambda: self._house.doors.leave(self.room_id, "everybody has left"))

    async def _leave(self, waiting: Waiting, reason: str) -> None:
        """The bot is out: end what runs here, remove the container; the workspace stays."""
        log.info("%s: out of the room (%s)", self.room_id, reason or "left")
        if (await self._house.rooms.get(self.room_id)).membership != "leave":
            await self._done(waiting)  # invited again in the meantime
            return
        if self.running is not None:
            self.running.silent = True
            await self.stop_turn(UserId("the homeserver"))
        await self._house.sandboxes.leave(self.room_id)
        await self._done(waiting)
        self.gone = True

    async def _turn_away(self, waiting: Waiting) -> None:
        text = voice.not_allowed(self._house.settings.operator_ids)
        once = f"told:{self.room_id}:{waiting.incoming.sender}"
        await self._done(waiting, Draft(self.room_id, render.content(text, notice=True), once=once))

    async def _done(self, waiting: Waiting, *drafts: Draft) -> None:
        await self._house.inbox.done(waiting.seq, drafts)
        if drafts:
            self._house.progress.wake()

    def _mark(self, waiting: Waiting) -> Draft:
        """The reaction that shows a message as queued; `Turns.begin` takes it off again."""
        relation = {"rel_type": "m.annotation", "event_id": waiting.incoming.event_id, "key": voice.QUEUED}
        return Draft(
            self.room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=mark_of(waiting.seq)
        )


class _Journal:
    """The steps of one turn; implements agent.turn.Journal."""

    def __init__(self, turns: Turns, turn: Turn) -> None:
        self._turns = turns
        self._turn = turn

    async def add(self, step: Step, usage: Usage) -> None:
        await self._turns.add(self._turn, step, usage)


async def _patiently(act: Callable[[], Awaitable[None]]) -> None:
    """Do something at the homeserver, as soon as it is there for us."""
    delay = 1.0
    while True:
        try:
            return await act()
        except Transient as error:
            await asyncio.sleep(error.retry_after or delay)
            delay = min(delay * 2, 60)


async def _stored(write: Callable[[], Awaitable[None]]) -> None:
    """Store what must not be lost, as soon as the disk takes it."""
    while True:
        try:
            return await write()
        except StateError as error:
            log.error("%s; trying again", error)
            await asyncio.sleep(STATE_RETRY_SECONDS)
