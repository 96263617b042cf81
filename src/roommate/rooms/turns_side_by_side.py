"""The conversations of a room, its main timeline and its threads: one turn at a time in each, several side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from roommate.domain import Event, EventId, Prompt, RoomId, UserId
from roommate.rooms.messages_to_running_turn import SILENCE, Breath
from roommate.rooms.prompt_context import with_files
from roommate.rooms.prompt_from_message import Asked
from roommate.rooms.running_turn import RunningTurn, TurnNeeds
from roommate.rooms.typing_notice import TypingNotice
from roommate.store import Inbox, Turn, Work

AT_ONCE = 4
"""Turns of a room that run at the same time: they share its container, and what the homeserver lets the bot say."""

Thread = EventId | None
"""What a conversation goes by: the root of its thread, None for the main timeline."""

Line = dict[Thread, None]
"""Conversations where messages wait, the one first whose turn is next."""

Meant = Callable[[Turn], bool]


def every_turn(turn: Turn) -> bool:
    return True


class Conversations:
    """Of one room. Where nothing runs there is nothing here: what waits for a conversation is in the inbox."""

    def __init__(
        self,
        room_id: RoomId,
        tasks: asyncio.TaskGroup,
        news: Callable[[Thread], None],
        needs: TurnNeeds,
        inbox: Inbox,
        told: Callable[[int], Awaitable[Sequence[Event]]],
    ) -> None:
        """Turns run in `tasks`; `news` is called with its thread when one is over. `told` gives what hooks have told of
        a turn."""
        self.typing = TypingNotice(room_id, needs.progress)
        self._room_id, self._tasks, self._news = room_id, tasks, news
        self._needs, self._inbox, self._told = needs, inbox, told
        self._turns: dict[int, RunningTurn] = {}
        """Oldest first; those that have not begun go on when nothing holds the room."""
        self._line: Line = {}

    @property
    def running(self) -> Sequence[RunningTurn]:
        """The turns that run, the newest last."""
        return [one for one in self._turns.values() if one.begun]

    async def begin(
        self,
        seq: int,
        thread: Thread,
        asked: Asked,
        model: str | None,
        *,
        plans: bool,
        replies: bool,
        breath: Breath,
        more: Mapping[int, Prompt],
        said: str,
    ) -> None:
        """Make a turn, of this model or of the room's own, of a message that waits in the inbox, with what was said in
        the same `breath` and waits in `more` rows; nothing comes of one that was redacted, and one that says something
        else by now than what was `said` is looked at again. `plans`: it
        changes nothing. `replies`: its answer names the message that it answers."""
        turns, default = self._needs.turns, self._needs.settings().llm_model
        turn = await turns.begin(
            seq,
            self._room_id,
            thread,
            asked.prompt,
            default,
            instead=model,
            more=more,
            about=asked.about,
            again=asked.again,
            told=with_files,
            plans=plans,
            said=said,
        )
        if turn:
            self._add(turn, replies=replies, breath=breath).start(self._tasks)

    async def find_interrupted(self, *, replies: bool) -> None:
        """Look for the turns that a restart left: their conversations wait for them to go on."""
        for turn in await self._needs.turns.unfinished(self._room_id):
            told = await self._told(turn.id)
            if turn.id not in self._turns:
                self._add(turn, replies=replies, resumes=told)

    def running_in(self, thread: Thread) -> RunningTurn | None:
        """The turn of this conversation that still takes in what is said to it."""
        found = (one for one in self._turns.values() if one.turn.thread == thread and not one.closing)
        return next(found, None)

    def tell(self, threads: Collection[Thread]) -> None:
        """Lines wait in these conversations: the turns that run there take them in."""
        for thread in threads:
            if one := self.running_in(thread):
                one.lines.tell()

    def go_on(self) -> None:
        """Take up what a restart left."""
        for one in list(self._turns.values())[:AT_ONCE]:
            if not one.begun:
                one.start(self._tasks)

    def lined_up(self, waiting: Sequence[Thread]) -> Line:
        """See `lined_up`; who gets a turn is out of the line."""
        self._line = lined_up(self._line, waiting)
        return dict(self._line)

    def is_free(self, thread: Thread, ahead: Collection[Thread] = ()) -> bool:
        """Can a turn begin there, when those `ahead` have had theirs?"""
        busy = {one.turn.thread for one in self._turns.values()}
        before = len(ahead) - sum(one in ahead for one in busy)
        return thread not in busy and AT_ONCE - len(self._turns) > before

    async def stop(
        self,
        by: UserId,
        meant: Meant = every_turn,
        along: Callable[[int], Work[object] | None] | None = None,
        *,
        silent: bool = False,
    ) -> int:
        """Stop the turns that are `meant`, now, and wait until their ends are stored; gives how many were stopped.

        `along`, given that number, is done in the transaction that stores the last of the ends, in one of its own where
        none is stored. `silent`: nobody is there to read how they end.
        """
        turns = [one for one in self._turns.values() if meant(one.turn)]
        for one in turns:
            one.silent = one.silent or silent
            if not one.begun:  # it is held: its message tells all the same that it was stopped
                one.start(self._tasks)
        last = turns.pop() if turns else None
        # After the others: a crash in between leaves undone what is done along, and all of it is asked for once more.
        stopped = sum(await asyncio.gather(*(one.stop(by) for one in turns)))
        if last and await last.stop(by, along(stopped + 1) if along else None):
            return stopped + 1
        if along and (work := along(stopped)):
            await self._inbox.do(work)
        return stopped

    async def halt(self) -> None:
        """What runs is taken up elsewhere, as after a restart."""
        await asyncio.gather(*(one.halt() for one in self.running))
        self._turns.clear()

    def _add(
        self, turn: Turn, *, replies: bool, resumes: Sequence[Event] | None = None, breath: Breath = SILENCE
    ) -> RunningTurn:
        def over() -> None:
            self._turns.pop(turn.id, None)
            self._news(turn.thread)

        self._line.pop(turn.thread, None)
        one = RunningTurn(turn, self._needs, self.typing, replies=replies, over=over, resumes=resumes, breath=breath)
        self._turns[turn.id] = one
        return one


def lined_up(line: Line, waiting: Sequence[Thread]) -> Line:
    """Those where messages are `waiting`, given by the age of these: as they stood in the `line`, the new ones behind.
    So none has two turns while another one waits, however many messages there are in it."""
    still = dict.fromkeys(waiting)
    return {one: None for one in line if one in still} | still
