"""One room: takes its inbox in order, gives each conversation its messages; goes in and out of the room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from itertools import islice

from roommate.chat import commands, texts
from roommate.domain import (
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
from roommate.errors import Refused, RoommateError, SandboxError, StateError
from roommate.hooks import Hooks
from roommate.house import House
from roommate.matrix import render
from roommate.rooms import invitations, room_prompt, room_upgrades
from roommate.rooms.command_handlers import Orders
from roommate.rooms.conversation import Conversations, Line, Meant, Thread, every_turn
from roommate.rooms.retrying import patiently, to_the_end
from roommate.rooms.running_turn import STATE_RETRY_SECONDS
from roommate.settings.config import REHEARSAL
from roommate.store import Card, RoomRow, Turn, Waiting, Work, mark_of

log = logging.getLogger(__name__)

PAGE = 50
"""Rows of the inbox that are looked at together: with a thousand waiting, a turn does not read them all."""


class Room:
    """Run `run()`; call `wake()` when the inbox has something new for this room."""

    def __init__(self, room_id: RoomId, house: House) -> None:
        self.room_id = room_id
        self.gone = False
        self._house = house
        self._tasks = asyncio.TaskGroup()
        self._conversations = Conversations(room_id, house, self._tasks, self.wake)
        self._orders = Orders(self, house)
        self._hooks = Hooks(room_id, house, self.wake)
        self._woken = asyncio.Event()
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
        async with self._tasks:
            while not self.gone:
                self._woken.clear()
                try:
                    if self._inherits:  # before anything else happens here
                        self._inherits = False
                        await self._find_interrupted()
                        await self._orders.go_on()
                    # Before the turns that a restart left go on: what waits may be about to stop them.
                    await self._catch_up()
                    if not self._held:
                        self._conversations.go_on()
                    await self._listen()
                except StateError as error:  # a full disk, most likely: what is stored waits there for better times
                    log.error("%s", error)
                    await asyncio.sleep(STATE_RETRY_SECONDS)
                    self._inherits = True
                    continue
                await self._woken.wait()

    @property
    def running(self) -> Sequence[Turn]:
        return [one.turn for one in self._conversations.running]

    async def stop(
        self, by: UserId, meant: Meant = every_turn, along: Callable[[int], Work[object] | None] | None = None
    ) -> int:
        """See `Conversations.stop`."""
        return await self._conversations.stop(by, meant, along)

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
    def _held(self) -> bool:
        """No turn may begin."""
        return bool(self._orders.carrying_out) or self._house.holds.of(self.room_id) is not None

    async def _find_interrupted(self) -> None:
        """Look for the turns that a restart left; they go on when nothing holds them."""
        if not (left := await self._house.turns.unfinished(self.room_id)):
            return
        row = await self._house.rooms.get(self.room_id)
        for turn in left:
            told = await self._house.ipc.of_turn(turn.id)
            self._conversations.interrupted(turn, crowded=row.crowded, told=told)

    async def _catch_up(self) -> None:
        """Deal with what is new, in order: a message whose turn has not come yet stays, marked. Then the conversation
        that has waited longest has its turn. A command is dealt with before those that wait: it is about what there was
        when it was said, and not about a turn that begins later."""
        inbox, typing = self._house.inbox, None
        while not self.gone:
            row = await self._house.rooms.get(self.room_id)
            if row.membership == "join" and row.joined == 1:
                await self._leave_over("everybody has left")
            elif row.membership == "join" and row.replaced == "moved":
                await self._leave_over("this room was replaced, and I have moved")
            line = self._conversations.lined_up(await inbox.queued_in(self.room_id))
            page = await inbox.waiting(self.room_id, queued=False, most=PAGE)
            for waiting in page:
                await self._survive(waiting, row, line)
            if len(page) == PAGE:
                typing = typing or self._tasks.create_task(self._conversations.typing.show())
                continue
            free = list(islice(filter(self._conversations.is_free, line), 1))
            if row.moving or self._held or not free:
                break
            if first := await inbox.first(self.room_id, free[0]):
                await self._survive(first, row, line)
        if typing:
            typing.cancel()
            await asyncio.wait([typing])
            await self._conversations.typing.take_off()
        await self._tell_of_pause()

    async def _tell_of_pause(self) -> None:
        """Say, once in a pause, that it is why nothing is answered."""
        pause = self._house.holds.of(self.room_id)
        if pause and (waiting := await self._house.inbox.count_queued(self.room_id)):
            content = render.content(texts.held(pause.by, waiting), notice=True)
            await self._house.outbox.put([Draft(self.room_id, content, once=f"paused:{self.room_id}:{pause.since}")])
            self._house.progress.wake()

    async def _survive(self, waiting: Waiting, row: RoomRow, line: Line) -> None:
        """Handle one row; whatever goes wrong with it, the next one is handled as well."""
        what = waiting.incoming.what
        thread = what.thread if isinstance(what, Message) else None
        try:
            await self._handle(waiting, row, line)
        except StateError:
            raise
        except RoommateError as error:
            log.warning("%s", error)
            await self._done(waiting, self.say(f"⚠️ {error}", thread))
        except Exception:
            log.exception("inbox row %d was not handled", waiting.seq)
            await self._done(waiting, self.say(texts.broken(f"inbox row {waiting.seq}"), thread))

    async def _listen(self) -> None:
        """What hooks say comes from a hostile place: whatever goes wrong with it, the room goes on."""
        try:
            await self._hooks.listen(self._conversations.running)
        except StateError:
            raise
        except Exception:
            log.exception("what hooks reported was not shown")

    async def _handle(self, waiting: Waiting, row: RoomRow, line: Line) -> None:
        incoming = waiting.incoming
        match incoming.what:
            case Message() as message:
                await self._message(waiting, message, row, line)
            case Reaction(target, key):
                await self._orders.decide(waiting, target, key)
            case Invite():
                await invitations.answer(waiting, self._house)
            case Tombstone() if row.replaces and row.membership == "join":
                pass  # first everything moves in here; then it is looked at again
            case Tombstone():
                await room_upgrades.follow(waiting, self._house, self._conversations.halt)
                self.wake()
            case Arrived() if upgrade := await self._house.upgrades.into(self.room_id):
                await self._house.upgrades.again(upgrade)
                self._house.wake(upgrade.old)
                await self._done(waiting)  # what it says here it says when it has moved
            case Arrived():
                model = row.model or self._house.settings.llm_model
                text = texts.greeting(model, encrypted=row.encrypted, rehearsal=model == REHEARSAL)
                await self._done(waiting, self.say(text))
            case Unreadable():
                once = Draft(
                    self.room_id, render.content(texts.CANNOT_READ, notice=True), once=f"unreadable:{self.room_id}"
                )
                await self._done(waiting, once)
            case Gone(reason):
                await self._leave(waiting, reason)
            case _:
                await self._done(waiting)

    async def _message(self, waiting: Waiting, message: Message, row: RoomRow, line: Line) -> None:
        """A message: a command is done at once, anything else becomes a turn, or waits in `line` for it."""
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
        direct = room_prompt.asked_directly(command)
        if message.attachment is not None:
            await self._done(waiting, self.say(texts.TEXT_ONLY, message.thread))
        elif command and not direct:
            await self._orders.obey(waiting, command, message.thread)
        elif not text.strip():
            await self._done(waiting, self.say(texts.NOTHING_ASKED, message.thread))
        elif not self._may_begin(waiting, message.thread, row, line):
            if not waiting.queued:
                await self._house.inbox.queue(waiting.seq, self._mark(waiting))
                line.setdefault(message.thread)
                self._house.progress.wake()
        else:
            model, task = direct or (None, text)
            prompt = Prompt(task, incoming.sender)
            begun = await self._house.turns.begin(
                waiting.seq, self.room_id, message.thread, prompt, settings.llm_model, instead=model
            )
            if begun:
                self._conversations.begin(begun, crowded=row.crowded)

    def _may_begin(self, waiting: Waiting, thread: Thread, row: RoomRow, line: Line) -> bool:
        """May this message have its turn now? Once one has to wait, those behind it in its conversation wait as well,
        even when the turn ends in the meantime."""
        if self._held or row.moving or (thread in line and not waiting.queued):
            return False
        return self._conversations.is_free(thread, ahead=() if waiting.queued else line)

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
        await self._conversations.stop(UserId("the homeserver"), silent=True)
        try:
            await self._house.sandboxes.leave(self.room_id)
        except SandboxError as error:  # nobody is here to be told; the next start removes what was left
            log.warning("%s", error)
        await self._done(waiting)
        self.gone = True

    async def _turn_away(self, waiting: Waiting, thread: EventId | None) -> None:
        who, text = waiting.incoming.sender, texts.not_allowed(self._house.settings.operator_ids)
        content = render.content(text, notice=True, thread=thread)
        refused = DeedOutcome.REFUSED
        deed = Deed(who, waiting.incoming.event_id, "message", refused, self.room_id, detail="not on the list")
        await self._done(waiting, Draft(self.room_id, content, once=f"told:{self.room_id}:{who}"), deeds=[deed])

    async def _done(self, waiting: Waiting, *drafts: Draft, deeds: Sequence[Deed] = ()) -> None:
        await self._house.inbox.done(waiting.seq, drafts, deeds)
        if drafts:
            self._house.progress.wake()

    def _mark(self, waiting: Waiting) -> Draft:
        """The reaction that shows a message as queued; the store takes it off when the message is dealt with."""
        relation = {"rel_type": "m.annotation", "event_id": waiting.incoming.event_id, "key": texts.QUEUED}
        return Draft(
            self.room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=mark_of(waiting.seq)
        )
