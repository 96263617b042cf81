"""What a message asks of the bot: a command, a turn, or nothing; and whether its sender may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from roommate.agent.direct_to_coding_agent_model import DIRECT
from roommate.agent.shell_line_model import COMMAND
from roommate.chat import commands, texts
from roommate.chat.calling_by_name import without_call
from roommate.chat.commands import Command
from roommate.domain import EventId, Message, RoomId, UserId
from roommate.settings.config import Settings


@dataclass(frozen=True, slots=True)
class Refusal:
    """Its sender may not talk to the bot."""

    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """A turn is wanted, of this model, or of the room's own."""

    text: str
    model: str | None = None
    plans: bool = False
    """It looks and changes nothing, and ends with a plan."""
    alone: bool = False
    """It is joined with nothing that is said before or after it."""


Meaning = Task | Command | Refusal | str | None
"""Text is all that there is to answer; None means nothing to the bot."""


@dataclass(frozen=True, slots=True)
class Meanings:
    """`names` is what people call the bot; `is_ours` tells whether an event is a message of its own; `agents` can be
    asked for a turn of their own (``!ask gemini …``)."""

    settings: Callable[[], Settings]
    names: Callable[[], Sequence[str]]
    is_ours: Callable[[EventId], Awaitable[bool]]
    speaks_in: Callable[[RoomId, EventId], Awaitable[bool]]
    """Has the bot had a turn in this thread of a room?"""
    agents: Collection[str]

    async def of(self, message: Message, sender: UserId, room_id: RoomId, people: int) -> Meaning:
        """`people` is everybody in the room, the bot included, 0 where nobody knows how many they are."""
        settings, names = self.settings(), self.names()
        if not await self.is_for_us(message, room_id, people):
            return None
        if not settings.is_allowed(sender):
            return Refusal(texts.not_allowed(settings.operator_ids))
        text = without_call(message.text, names)
        if command := commands.parse(text):
            return self._asked_directly(command) or command
        first, _, rest = text.strip().partition(" ")
        if first == COMMAND and rest.strip():
            return Task(rest.strip(), COMMAND)
        if text.strip() or message.file is not None:
            return Task(text, alone=message.alone)
        return texts.NOTHING_ASKED

    async def is_for_us(self, message: Message, room_id: RoomId, people: int) -> bool:
        """Whatever it says; `people` as in `of`."""
        to_us = message.reply_to is not None and await self.is_ours(message.reply_to)
        if message.thread is not None and not to_us:  # on a message of ours, or where we have spoken
            to_us = await self.is_ours(message.thread) or await self.speaks_in(room_id, message.thread)
        settings, names = self.settings(), self.names()
        everything = settings.answer_everything
        return commands.meant_for(message, settings.bot, names, people=people, to_us=to_us, everything=everything)

    def said(self, message: Message) -> str:
        """Its text, without the bot's name in front."""
        return without_call(message.text, self.names())

    def commands(self, message: Message) -> bool:
        """Does it give a command?"""
        return commands.parse(self.said(message)) is not None

    def _asked_directly(self, command: Command) -> Task | None:
        """A turn that a coding agent does alone, or that plans."""
        if command.name == "plan" and command.argument.strip():
            return Task(command.argument.strip(), plans=True)
        name, _, task = command.argument.partition(" ")
        if command.name != "ask" or name.lower() not in self.agents or not task.strip():
            return None
        return Task(task.strip(), DIRECT + name.lower())
