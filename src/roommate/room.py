"""One room: takes its inbox in order and starts one turn at a time; goes in and out of the room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from roommate import agents, upgrades
from roommate.chat import commands, voice
from roommate.config import REHEARSAL
from roommate.errors import Refused, RoommateError, SandboxError, StateError
from roommate.hooks import Hooks
from roommate.house import House
from roommate.matrix import render
from roommate.orders import Orders
from roommate.retrying import patiently, to_the_end
from roommate.running import STATE_RETRY_SECONDS, RunningTurn, show_typing
from roommate.store import Card, RoomRow, Turn, Waiting, Work, mark_of
from roommate.words import (
    Arrived,
    Deed,
    DeedOutcome,
    Draft,
    EventId,
    Gone,
    Invite,
    Message,
    Prompt,
    Rank,
    Reaction,
    RoomId,
    Tombstone,
    Unreadable,
    UserId,
)

log = logging.getLogger(__name__)

PAGE = 50
"""Rows of the inbox that are looked at together: with a thousand waiting, a turn does not read them all."""


class Room:
    """Run `run()`; call `wake()` when the inbox has something new for this room."""

    def __init__(self, room_id: RoomId, house: House) -> None:
        self.room_id = room_id
        self.running: RunningTurn | None = None
        self.gone = False
        self._house = house
        self._orders = Orders(self, house)
        self._hooks = Hooks(room_id, house, self.wake)
        self._woken = asyncio.Event()
        self._unfinished: Callable[[], None] | None = None
        """Takes up the turn that a restart left; None when there is none, or it runs again."""
        self._inherits = True
        """Something may be there that was begun elsewhere: before a restart, or in a room that this one replaces."""

    def wake(self) -> None:
        self._woken.set()

    def look_again(self) -> None:
        """What another room has begun may be this one's now."""
        self._inherits = True
        self.wake()

    @property
    def woken(self) -> bool:
        """Something came in that `run` has not looked at."""
        return self._woken.is_set()

    async def run(self) -> None:
        """Until the bot is out of the room, and all of that is dealt with."""
        async with asyncio.TaskGroup() as group:
            while not self.gone:
                self._woken.clear()
                try:
                    if self._inherits and self.running is None:  # before anything else happens here
                        self._inherits = False
                        await self._find_unfinished(group)
                        await self._orders.go_on()
                    # Before the turn that a restart left goes on: what waits may be about to stop it.
                    await self._catch_up(group)
                    if self._unfinished and not self._house.holds.of(self.room_id):
                        self._unfinished()
                    await self._listen()
                except StateError as error:  # a full disk, most likely: what is stored waits there for better times
                    log.error("%s", error)
                    await asyncio.sleep(STATE_RETRY_SECONDS)
                    self._inherits = True
                    continue
                await self._woken.wait()

    async def stop_turn(self, by: UserId, along: Work[object] | None = None) -> bool:
        """Stop what runs, now, and wait until its end is stored, and with it what is to be done `along`; False when
        nothing ran, and nothing was done."""
        if self._unfinished:  # it is held: its message tells all the same that it was stopped
            self._unfinished()
        return self.running is not None and await self.running.stop(by, along)

    async def choose(self, card: Card, choice: str, by: UserId, deed: Deed) -> str | None:
        """See `Orders.choose`. Who asks may hang up: what was decided is carried out all the same."""

        async def chosen() -> str | None:
            try:
                return await self._orders.choose(card, choice, by, deed)
            finally:
                self.wake()  # what has waited meanwhile

        return await to_the_end(chosen())

    def say(self, markdown: str, thread: EventId | None = None) -> Draft:
        """A notice of the bot itself."""
        return Draft(self.room_id, render.content(markdown, notice=True, thread=thread))

    @property
    def _free(self) -> bool:
        """May a turn begin?"""
        held = self._orders.carrying_out or self._house.holds.of(self.room_id) is not None
        return self.running is None and self._unfinished is None and not held

    async def _find_unfinished(self, group: asyncio.TaskGroup) -> None:
        """Look for the turn that a restart left; it goes on when nothing holds it."""
        if (unfinished := await self._house.turns.unfinished(self.room_id)) is None:
            return
        row = await self._house.rooms.get(self.room_id)
        told = await self._house.ipc.of_turn(unfinished.id)

        def go_on() -> None:
            self._unfinished = None
            running = self._start(group, unfinished, resumed=True, crowded=row.crowded)
            for event in told:
                running.emit(event)

        self._unfinished = go_on

    async def _catch_up(self, group: asyncio.TaskGroup) -> None:
        """Deal with what is new, in order: a message whose turn has not come yet stays, marked. Then the first that
        was marked before has its turn. A command is dealt with before those that wait: it is about what there was when
        it was said, and not about a turn that begins later."""
        inbox, typing = self._house.inbox, None
        while not self.gone:
            row = await self._house.rooms.get(self.room_id)
            if row.membership == "join" and row.joined == 1:
                await self._leave_over("everybody has left")
            elif row.membership == "join" and row.replaced == "moved":
                await self._leave_over("this room was replaced, and I have moved")
            moving = row.replaces or row.replaced == "open"
            free = self._free and not moving and not await inbox.count_queued(self.room_id)
            page = await inbox.waiting(self.room_id, queued=False, most=PAGE)
            for waiting in page:
                # Once a message has to wait, those behind it wait as well, even when the turn ends in the meantime.
                free = free and self._free
                await self._survive(group, waiting, row, free)
            if len(page) == PAGE:
                typing = typing or group.create_task(show_typing(self.room_id, self._house.progress))
                continue
            if moving or not self._free or not (first := await inbox.waiting(self.room_id, most=1)):
                break
            await self._survive(group, first[0], row, True)
        if typing and typing.cancel() and self.running is None:
            await self._house.progress.typing(self.room_id, False)
        await self._tell_of_pause()

    async def _tell_of_pause(self) -> None:
        """Say, once in a pause, that it is why nothing is answered."""
        pause = self._house.holds.of(self.room_id)
        if pause and (waiting := await self._house.inbox.count_queued(self.room_id)):
            content = render.content(voice.held(pause.by, waiting), notice=True)
            await self._house.outbox.put([Draft(self.room_id, content, once=f"paused:{self.room_id}:{pause.since}")])
            self._house.progress.wake()

    async def _survive(self, group: asyncio.TaskGroup, waiting: Waiting, row: RoomRow, free: bool) -> None:
        """Handle one row; whatever goes wrong with it, the next one is handled as well."""
        what = waiting.incoming.what
        thread = what.thread if isinstance(what, Message) else None
        try:
            await self._handle(group, waiting, row, free)
        except StateError:
            raise
        except RoommateError as error:
            log.warning("%s", error)
            await self._done(waiting, self.say(f"⚠️ {error}", thread))
        except Exception:
            log.exception("inbox row %d was not handled", waiting.seq)
            await self._done(waiting, self.say(voice.broken(f"inbox row {waiting.seq}"), thread))

    async def _listen(self) -> None:
        """What hooks say comes from a hostile place: whatever goes wrong with it, the room goes on."""
        try:
            await self._hooks.listen(self.running)
        except StateError:
            raise
        except Exception:
            log.exception("what hooks reported was not shown")

    async def _handle(self, group: asyncio.TaskGroup, waiting: Waiting, row: RoomRow, free: bool) -> None:
        incoming = waiting.incoming
        match incoming.what:
            case Message() as message:
                await self._message(group, waiting, message, row, free)
            case Reaction(target, key):
                await self._orders.decide(waiting, target, key)
            case Invite():
                await self._invited(waiting)
            case Tombstone() if row.replaces and row.membership == "join":
                pass  # first everything moves in here; then it is looked at again
            case Tombstone():
                await upgrades.follow(waiting, self._house, self._halt)
                self.wake()
            case Arrived() if upgrade := await self._house.upgrades.into(self.room_id):
                await self._house.upgrades.again(upgrade)
                self._house.wake(upgrade.old)
                await self._done(waiting)  # what it says here it says when it has moved
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

    async def _message(
        self, group: asyncio.TaskGroup, waiting: Waiting, message: Message, row: RoomRow, free: bool
    ) -> None:
        """A message: a command is done at once, anything else becomes a turn, where the room is `free` for one."""
        incoming = waiting.incoming
        to_us = message.reply_to is not None and await self._house.outbox.is_ours(message.reply_to)
        settings, names = self._house.settings, self._house.names
        everything = settings.answer_everything
        if not commands.meant_for(message, settings.bot, names, people=row.joined, to_us=to_us, everything=everything):
            await self._done(waiting)
            return
        if not settings.is_allowed(incoming.sender):
            await self._turn_away(waiting, message.thread)
            return
        text = commands.without_mention(message.text, names)
        command = commands.parse(text)
        direct = agents.asked_directly(command)
        if message.attachment is not None:
            await self._done(waiting, self.say(voice.TEXT_ONLY, message.thread))
        elif command and not direct:
            await self._orders.obey(waiting, command, message.thread)
        elif not text.strip():
            await self._done(waiting, self.say(voice.NOTHING_ASKED, message.thread))
        elif not free:
            if not waiting.queued:
                await self._house.inbox.queue(waiting.seq, self._mark(waiting))
                self._house.progress.wake()
        else:
            model, task = direct or (None, text)
            prompt = Prompt(task, incoming.sender)
            begun = await self._house.turns.begin(
                waiting.seq, self.room_id, message.thread, prompt, settings.llm_model, instead=model
            )
            if begun:
                self._start(group, begun, resumed=False, crowded=row.crowded)

    def _start(self, group: asyncio.TaskGroup, turn: Turn, *, resumed: bool, crowded: bool) -> RunningTurn:
        self.running = running = RunningTurn(turn, self._house, crowded=crowded, over=self._over)
        running.start(group, resumed=resumed)
        return running

    async def _halt(self) -> None:
        """What runs here is taken up elsewhere, as after a restart."""
        if self.running is not None:
            await self.running.halt()
            self.running = None
        self._unfinished = None

    def _over(self) -> None:
        self.running = None
        self.wake()

    async def _invited(self, waiting: Waiting) -> None:
        inviter = waiting.incoming.sender
        settings = self._house.settings
        try:
            upgrade = await self._house.upgrades.into(self.room_id)
            if not (settings.is_allowed(inviter) or (upgrade and upgrade.by == inviter)):
                deed = await self._declined(waiting, "not on the list", voice.declined(settings.operator_ids))
            elif upgrade or self.room_id == settings.control_room or await self._finds_a_place():
                log.info("joining, invited by %s", inviter)
                await self._house.join(self.room_id)
                deed = self._deed(waiting, "invite")
            else:
                full = voice.full(settings.max_rooms, settings.operator_ids)
                deed = await self._declined(waiting, f"MAX_ROOMS={settings.max_rooms}", full)
        except Refused as error:  # the invite was taken back, most likely, or the server that it is from has gone
            self._house.joining.discard(self.room_id)
            log.warning("the invite of %s came to nothing: %s", inviter, error)
            deed = self._deed(waiting, "invite", DeedOutcome.FAILED, str(error))
        await self._done(waiting, deeds=[deed])

    async def _finds_a_place(self) -> bool:
        """Are there fewer rooms than there may be? Then this is one of them from now on."""
        house = self._house
        joined = await house.rooms.joined()
        if len({*joined, *house.joining} - {self.room_id}) >= house.settings.max_rooms:
            return False
        house.joining.add(self.room_id)
        return True

    async def _declined(self, waiting: Waiting, why: str, said: str) -> Deed:
        log.warning("invite of %s declined: %s", waiting.incoming.sender, why)
        await patiently(lambda: self._house.doors.leave(self.room_id, said))
        return self._deed(waiting, "invite", DeedOutcome.REFUSED, why)

    async def _leave_over(self, why: str) -> None:
        """Nothing is left to do here: leave; the sync that says so cleans up."""
        log.info("leaving: %s", why)
        with contextlib.suppress(Refused):
            await patiently(lambda: self._house.doors.leave(self.room_id, why))

    async def _leave(self, waiting: Waiting, reason: str) -> None:
        """The bot is out: end what runs here, remove the container; the workspace stays."""
        log.info("out of the room (%s)", reason or "left")
        if (await self._house.rooms.get(self.room_id)).membership != "leave":
            await self._done(waiting)  # invited again in the meantime
            return
        self._house.joining.discard(self.room_id)
        if self._unfinished:
            self._unfinished()
        if self.running is not None:
            self.running.silent = True
            await self.stop_turn(UserId("the homeserver"))
        try:
            await self._house.sandboxes.leave(self.room_id)
        except SandboxError as error:  # nobody is here to be told; the next start removes what was left
            log.warning("%s", error)
        await self._done(waiting)
        self.gone = True

    async def _turn_away(self, waiting: Waiting, thread: EventId | None) -> None:
        text = voice.not_allowed(self._house.settings.operator_ids)
        once = f"told:{self.room_id}:{waiting.incoming.sender}"
        told = Draft(self.room_id, render.content(text, notice=True, thread=thread), once=once)
        await self._done(waiting, told, deeds=[self._deed(waiting, "message", DeedOutcome.REFUSED, "not on the list")])

    def _deed(self, waiting: Waiting, what: str, outcome: DeedOutcome = DeedOutcome.DONE, detail: str = "") -> Deed:
        """What the audit log says of what this row led to."""
        incoming = waiting.incoming
        return Deed(incoming.sender, incoming.event_id, what, outcome, self.room_id, detail=detail)

    async def _done(self, waiting: Waiting, *drafts: Draft, deeds: Sequence[Deed] = ()) -> None:
        await self._house.inbox.done(waiting.seq, drafts, deeds)
        if drafts:
            self._house.progress.wake()

    def _mark(self, waiting: Waiting) -> Draft:
        """The reaction that shows a message as queued; the store takes it off when the message is dealt with."""
        relation = {"rel_type": "m.annotation", "event_id": waiting.incoming.event_id, "key": voice.QUEUED}
        return Draft(
            self.room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=mark_of(waiting.seq)
        )
