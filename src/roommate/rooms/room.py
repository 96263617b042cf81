"""One room: takes its inbox in order, gives each conversation its messages; goes in and out of the room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from roommate.chat import texts
from roommate.chat.commands import Command
from roommate.domain import (
    Arrived,
    Deed,
    DeedOutcome,
    Draft,
    Edit,
    EventId,
    Gone,
    Invite,
    Message,
    Prompt,
    Reaction,
    RoomId,
    Tombstone,
    Unreadable,
    UserId,
)
from roommate.errors import RoommateError, SandboxError, StateError
from roommate.matrix import render
from roommate.net.retrying import to_the_end
from roommate.rooms.bot_answers import Replies, notice, queue_mark
from roommate.rooms.bot_loop_guard import WINDOW_SECONDS, BotLoopGuard
from roommate.rooms.card_decisions import CardDecisions
from roommate.rooms.fetch_received_files import FileIntake
from roommate.rooms.membership import Membership
from roommate.rooms.message_meaning import Meanings, Refusal, Task
from roommate.rooms.messages_to_running_turn import STATE_RETRY_SECONDS, Breath
from roommate.rooms.prompt_from_message import Asked, Prompts
from roommate.rooms.reactions_from_people import ReactionMeanings
from roommate.rooms.room_upgrades import RoomUpgrades
from roommate.rooms.running_turn import RunningTurn
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.rooms.turn_holds import Holds
from roommate.rooms.turns_side_by_side import Conversations, Line, Meant, Thread, every_turn
from roommate.store import Card, Inbox, RoomRow, Rooms, Turn, Waiting, Work, again_at
from roommate.store.inbox import threading
from roommate.store.messages_to_running_turn import keeping
from roommate.store.said_lately import held_key, said_lately

log = logging.getLogger(__name__)

PAGE = 50
"""Rows of the inbox that are looked at together: with a thousand waiting, a turn does not read them all."""


class Commands(Protocol):
    """What is done where a command is said."""

    async def obey(self, waiting: Waiting, command: Command, thread: EventId | None) -> None:
        """Do it and answer it, together with its inbox row."""
        ...


class HookReports(Protocol):
    """What hooks in this room report and ask."""

    async def listen(self, running: Sequence[RunningTurn]) -> None:
        """Deal with what waits, where these turns run, the newest last."""
        ...


class Room:
    """Run `run()`; call `wake()` when the inbox has something new for this room."""

    def __init__(
        self,
        room_id: RoomId,
        *,
        inbox: Inbox,
        rows: Rooms,
        replies: Replies,
        holds: Holds,
        name: Callable[[RoomId, str], Awaitable[str]],
        meanings: Meanings,
        commands: Commands,
        loops: BotLoopGuard,
        cards: CardDecisions,
        membership: Membership,
        upgrades: RoomUpgrades,
        sandboxes: Sandboxes,
        conversations: Callable[[RoomId, asyncio.TaskGroup, Callable[[Thread], None]], Conversations],
        reactions: ReactionMeanings,
        prompts: Prompts,
        files: Callable[[RoomId, asyncio.TaskGroup, Callable[[Thread], None]], FileIntake],
        hooks: Callable[[RoomId, Callable[[], None]], HookReports],
        breath: Callable[[], float],
    ) -> None:
        """`name` is what people call somebody in a room, `breath` how many seconds may lie between lines that are one
        prompt. `conversations`, `files` and `hooks` are made for this room: with what runs its tasks, and what wakes
        it."""
        self.room_id = room_id
        self.gone = False
        self._inbox, self._rows, self._replies, self._holds = inbox, rows, replies, holds
        self._name, self._loops = name, loops
        self._meanings, self._commands, self._cards = meanings, commands, cards
        self._membership, self._upgrades, self._sandboxes = membership, upgrades, sandboxes
        self._breath = breath
        self._tasks = asyncio.TaskGroup()
        self._conversations = conversations(room_id, self._tasks, self._answered)
        self._reactions, self._prompts = reactions, prompts
        self._files = files(room_id, self._tasks, self._file_came)
        self._hooks = hooks(room_id, self.wake)
        self._woken = asyncio.Event()
        self._awaiting_files: Mapping[Thread, int] = {}
        """The conversations where a message waits for its files, and the oldest of these rows."""
        self._inherits = True
        """Something may be there that was begun elsewhere: before a restart, or in a room that this one replaces."""

    def wake(self) -> None:
        self._woken.set()

    def _file_came(self, thread: Thread) -> None:
        self._conversations.tell([thread])
        self.wake()

    def _answered(self, thread: Thread) -> None:
        self._loops.answered(thread)
        self.wake()

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
                        crowded = (await self._rows.get(self.room_id)).crowded
                        await self._conversations.find_interrupted(replies=crowded)
                        lately = await self._inbox.do(said_lately(self.room_id, time.time() - WINDOW_SECONDS))
                        self._loops.recall(lately, self._meanings.commands)
                        await self._cards.go_on(self.room_id)
                    # Before the turns that a restart left go on: what waits may be about to stop them.
                    await self._catch_up()
                    await self._files.look()
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
        """See `CardDecisions.choose`. Who asks may hang up: what was decided is carried out all the same."""

        async def chosen() -> str | None:
            try:
                return await self._cards.choose(card, choice, by, deed)
            finally:
                self.wake()  # what has waited meanwhile

        return await to_the_end(chosen())

    @property
    def _held(self) -> bool:
        """No turn may begin."""
        return self._cards.hold(self.room_id) or self._holds.of(self.room_id) is not None

    async def _catch_up(self) -> None:
        """Deal with what is new, in order: a message whose turn has not come yet stays, marked. Then the conversation
        that has waited longest has its turn. A command is dealt with before those that wait: it is about what there was
        when it was said, and not about a turn that begins later."""
        inbox, typing = self._inbox, None
        while not self.gone:
            row = await self._rows.get(self.room_id)
            if row.membership == "join" and row.joined == 1:
                await self._membership.leave(self.room_id, "everybody has left")
            elif row.membership == "join" and row.replaced == "moved":
                await self._membership.leave(self.room_id, "this room was replaced, and I have moved")
            queued = await inbox.queued_in(self.room_id)
            self._conversations.tell([thread for thread, lines in queued.items() if lines])
            line = self._conversations.lined_up(list(queued))
            self._awaiting_files = await inbox.held_in(self.room_id)
            page = await inbox.waiting(self.room_id, queued=False, most=PAGE)
            for waiting in page:
                await self._survive(waiting, row, line)
            if len(page) == PAGE:
                typing = typing or self._tasks.create_task(self._conversations.typing.show())
                continue
            if row.moving or self._held or not (first := await self._next(line)):
                break
            await self._survive(first, row, line)
        if typing:
            typing.cancel()
            await asyncio.wait([typing])
            await self._conversations.typing.take_off()
        await self._tell_of_pause()

    async def _next(self, line: Line) -> Waiting | None:
        """The message whose turn is next."""
        for thread in filter(self._conversations.is_free, line):
            if self._loops.holds(thread):
                continue
            first = await self._inbox.first(self.room_id, thread)
            if first and not self._waits_for_files(first.seq, thread):
                return first
        return None

    def _waits_for_files(self, seq: int, thread: Thread) -> bool:
        """Do files that were sent before this message have to come first?"""
        return self._awaiting_files.get(thread, seq) < seq

    async def _tell_of_pause(self) -> None:
        """Say, once in a pause, that it is why nothing is answered."""
        pause = self._holds.of(self.room_id)
        if pause and (waiting := await self._inbox.count_queued(self.room_id)):
            by = await self._name(self.room_id, pause.by)
            content = render.content(texts.held(by, waiting), notice=True)
            await self._replies.say(Draft(self.room_id, content, once=f"paused:{self.room_id}:{pause.since}"))

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
            await self._answer(waiting, f"⚠️ {error}", thread)
        except Exception:
            log.exception("inbox row %d was not handled", waiting.seq)
            await self._answer(waiting, texts.broken(f"inbox row {waiting.seq}"), thread)

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
                self._loops.heard(incoming.sender, commands=True)
                if not await self._reactions.react(waiting, target, key, self.stop):
                    await self._cards.react(waiting, target, key)
                self.wake()  # it may be a prompt now
            case Edit(target):
                await self._edited(waiting, target)
            case Invite():
                await self._membership.invited(waiting)
            case Tombstone() if row.replaces and row.membership == "join":
                pass  # first everything moves in here; then it is looked at again
            case Tombstone():
                await self._upgrades.follow(waiting, self._conversations.halt)
                self.wake()
            case Arrived() if await self._upgrades.arrived(self.room_id):
                await self._done(waiting)  # what it says here it says when it has moved
            case Arrived():
                await self._done(waiting, await self._membership.greeting(row))
            case Unreadable(key_missing=True):
                who = waiting.incoming.sender
                await self._done(waiting, Draft(self.room_id, render.content(texts.key_missing(who), notice=True)))
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
        """A message: a command is done at once, a task becomes a turn, or waits in `line` for it."""
        sender, thread = waiting.incoming.sender, message.thread
        self._loops.heard(sender)
        if waiting.line is not None:
            await self._task(waiting, message, Task(waiting.line), row, line)
            return
        if not waiting.queued:  # what waits for its turn was no answer when it was said
            to_us = await self._meanings.is_for_us(message, self.room_id, row.joined)
            if await self._cards.answered(waiting, message, self._meanings.said(message), addressed=to_us):
                self.wake()  # it may be a prompt now
                return
        match await self._meanings.of(message, sender, self.room_id, row.joined):
            case None:
                await self._done(waiting)
            case Refusal(text):
                await self._turn_away(waiting, text, thread)
            case str() as text:
                await self._answer(waiting, text, thread)
            case Command() as command:
                self._loops.heard(sender, commands=True)
                await self._commands.obey(waiting, command, thread)
                self._conversations.tell([thread])  # it may be a line
            case Task(text) if row.threads and thread is None and text.strip() and message.again is None:
                await self._inbox.do(threading(waiting.seq))
                self.wake()  # it is looked at again, as what it is now
            case Task() if await self._prompts.waits_for_files(waiting, message):
                self._awaiting_files = {thread: waiting.seq, **self._awaiting_files}
            case Task() as task:
                await self._task(waiting, message, task, row, line)

    async def _task(self, waiting: Waiting, message: Message, task: Task, row: RoomRow, line: Line) -> None:
        """A turn, if it may begin; else it waits, or is a line for the turn that runs in its conversation."""
        thread, runs = message.thread, self._conversations.running_in(message.thread)
        if self._may_begin(waiting, thread, row, line):
            if not waiting.queued and self._loops.stops(waiting.incoming.sender, thread, crowded=row.crowded):
                await self._ask_for_a_word(waiting, thread)
            else:
                await self._begin(waiting, message, task, row)
        elif waiting.queued:
            pass
        elif runs and task == Task(task.text) and not message.file and runs.lines.breath.goes_on_with(waiting.incoming):
            asked = await self._prompts.asked(waiting, message, task.text)
            if await self._inbox.do(keeping(waiting.seq, asked.prompt.text, said=message.text)):
                runs.lines.join()
        elif runs and task == Task(task.text) and await self._shows(runs, message.reply_to):
            if await self._inbox.do(keeping(waiting.seq, task.text, self._mark(waiting), said=message.text)):
                self._replies.wake()
                runs.lines.tell()
        else:
            await self._replies.queue(waiting.seq, self._mark(waiting))
            line.setdefault(thread)

    async def _ask_for_a_word(self, waiting: Waiting, thread: Thread) -> None:
        """Two bots talk with each other, it seems: what was said waits until a person says something."""
        text = texts.loops(await self._name(self.room_id, waiting.incoming.sender))
        content = render.content(text, notice=True, thread=thread)
        told = Draft(self.room_id, content, once=held_key(self.room_id, waiting.seq))
        await self._replies.queue(waiting.seq, self._mark(waiting), told)

    async def _begin(self, waiting: Waiting, message: Message, task: Task, row: RoomRow) -> None:
        """A turn, with what waits behind it that was said in the same breath."""
        prompts, joined = self._prompts, dict[int, Prompt]()
        if waiting.line is None:
            asked = await prompts.asked(waiting, message, task.text)
        else:  # it was put together when it was said
            asked = Asked(Prompt(waiting.line, waiting.incoming.sender))
        breath = Breath(waiting.incoming, self._breath() if task.model is None and not task.alone else 0)
        if waiting.queued and breath.seconds:
            for later in await self._inbox.behind(waiting, PAGE):
                if not isinstance(what := later.incoming.what, Message) or self._waits_for_files(
                    later.seq, what.thread
                ):
                    break
                meaning = await self._meanings.of(what, breath.who, self.room_id, row.joined)
                if not isinstance(meaning, Task) or meaning != Task(meaning.text):
                    break
                if not breath.goes_on_with(later.incoming):
                    break
                joined[later.seq] = (await prompts.asked(later, what, meaning.text)).prompt
        await self._conversations.begin(
            waiting.seq,
            message.thread,
            asked,
            task.model,
            plans=task.plans,
            replies=row.crowded or waiting.queued,
            breath=breath,
            more=joined,
            said=message.text,
        )

    async def _shows(self, turn: RunningTurn, event: EventId | None) -> bool:
        """Is that the turn's message?"""
        return event is not None and turn.row is not None and await self._replies.outbox.event_of(turn.row) == event

    async def _edited(self, waiting: Waiting, target: EventId) -> None:
        """A message was changed that is answered, or just being so."""
        content = render.content(texts.EDITED, notice=True, reply_to=target)
        await self._done(waiting, Draft(self.room_id, content, once=again_at(target, "edited")))

    def _may_begin(self, waiting: Waiting, thread: Thread, row: RoomRow, line: Line) -> bool:
        """May this message have its turn now? Once one has to wait, those behind it in its conversation wait as well,
        even when the turn ends in the meantime."""
        held = self._held or self._loops.holds(thread)
        if held or row.moving or (thread in line and not waiting.queued):
            return False
        if self._waits_for_files(waiting.seq, thread):
            return False
        return self._conversations.is_free(thread, ahead=() if waiting.queued else line)

    async def _leave(self, waiting: Waiting, reason: str) -> None:
        """The bot is out: end what runs here, remove the container; the workspace stays."""
        log.info("out of the room (%s)", reason or "left")
        if (await self._rows.get(self.room_id)).membership != "leave":
            await self._done(waiting)  # invited again in the meantime
            return
        self._membership.left(self.room_id)
        self._files.halt()
        await self._conversations.stop(UserId("the homeserver"), silent=True)
        try:
            await self._sandboxes.leave(self.room_id)
        except SandboxError as error:  # nobody is here to be told; the next start removes what was left
            log.warning("%s", error)
        await self._done(waiting)
        self.gone = True

    async def _turn_away(self, waiting: Waiting, text: str, thread: EventId | None) -> None:
        """Whoever may not talk to the bot is told so once."""
        who, content = waiting.incoming.sender, render.content(text, notice=True, thread=thread)
        refused = DeedOutcome.REFUSED
        deed = Deed(who, waiting.incoming.event_id, "message", refused, self.room_id, detail="not on the list")
        said = Draft(self.room_id, content, once=f"told:{self.room_id}:{who}")
        await self._replies.done(waiting.seq, said, deeds=[deed])

    async def _answer(self, waiting: Waiting, markdown: str, thread: EventId | None) -> None:
        await self._done(waiting, notice(self.room_id, markdown, thread))

    async def _done(self, waiting: Waiting, *drafts: Draft) -> None:
        await self._replies.done(waiting.seq, *drafts)

    def _mark(self, waiting: Waiting) -> Draft:
        return queue_mark(self.room_id, waiting.incoming.event_id, waiting.seq)
