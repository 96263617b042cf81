"""The door in a room: ``!name …`` is an operation; it is answered in the transaction that deals with the message."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roommate.chat.commands import Command
from roommate.domain import Deed, Draft, EventId, Question, RoomId, UserId
from roommate.doors.reference import of_chat
from roommate.errors import Misused, NotPermitted, RoommateError
from roommate.operations import Bound, Call, Form, Operations, Settled, Who
from roommate.operations.parameters import said
from roommate.operations.registry import read
from roommate.rooms.bot_answers import Replies, notice
from roommate.rooms.questions import Questions
from roommate.store import Inbox, Transaction, Waiting, Work
from roommate.store.inbox import closing

Say = Callable[[str, EventId | None], Draft]
"""A notice of the bot's, as Markdown, in a thread."""


class ChatDoor:
    """For one message of a room."""

    stores = True

    def __init__(self, waiting: Waiting, thread: EventId | None, inbox: Inbox, questions: Questions, say: Say) -> None:
        self._waiting, self._thread = waiting, thread
        self._inbox, self._questions = inbox, questions
        self._say = say

    def settling(self, deal: Work[Settled]) -> Work[bool]:
        def answered(c: Transaction) -> tuple[Sequence[Draft], Sequence[Deed]]:
            settled = deal(c)
            text = settled.operation.reads(settled.result)
            return [self._say(text, self._thread)] if text else [], settled.deeds

        return closing(self._waiting.seq, answered)

    async def ask(self, question: Question, room_id: RoomId, deeds: Sequence[Deed]) -> None:
        asked = replace(question, asker=self._waiting.incoming.sender)
        await self._questions.answer_with(self._waiting.seq, room_id, asked, self._thread, deeds)

    async def fail(self, error: RoommateError, deeds: Sequence[Deed]) -> None:
        text = str(error) if isinstance(error, Misused | NotPermitted) else f"⚠️ {error}"
        await self._inbox.done(self._waiting.seq, [self._say(text, self._thread)], deeds)


@dataclass(frozen=True, slots=True)
class ChatCommands:
    """Does what is said in rooms."""

    operations: Operations
    inbox: Inbox
    questions: Questions
    replies: Replies
    is_operator: Callable[[UserId], bool]

    async def obey(self, waiting: Waiting, command: Command, thread: EventId | None) -> None:
        """Do a command and answer it, together with its inbox row."""
        say = functools.partial(notice, waiting.incoming.room_id)
        door = ChatDoor(waiting, thread, self.inbox, self.questions, say)
        may = Who.OPERATORS if self.is_operator(waiting.incoming.sender) else Who.ANYONE
        await obey(self.operations, may, door, waiting, command, thread)
        self.replies.wake()


async def obey(
    operations: Operations, may: Who, door: ChatDoor, waiting: Waiting, command: Command, thread: EventId | None
) -> None:
    """Do what a command asks for, and answer it."""
    incoming = waiting.incoming
    call = Call(
        who=incoming.sender,
        name=incoming.sender,
        via=incoming.event_id,
        may=may,
        door=door,
        asked_at=incoming.sent_at / 1000,
        here=incoming.room_id,
        thread=thread,
        seq=waiting.seq,
    )
    try:
        name, raw = understood(operations, command, incoming.room_id)
    except Misused as error:
        await door.fail(error, [])
    else:
        await operations.perform(name, raw, call)


def understood(operations: Operations, command: Command, here: RoomId) -> tuple[str, Any]:
    """The operation that is meant, and its parameters. Raises Misused, with what could be meant."""
    text = f"{command.name} {command.argument}"
    forms = [(one, form) for one in operations.known.values() for form in one.operation.chat]
    alike = [pair for pair in forms if pair[1].words.split()[0] == command.name]
    if not alike:
        raise Misused(unknown(command.name, [form.words.split()[0] for _, form in forms]))
    said_words = text.lower().split()
    fitting = [pair for pair in alike if _begins(said_words, pair[1])]
    for bound, form in sorted(fitting, key=lambda pair: -len(pair[1].words.split())):
        try:
            return bound.operation.name, read(bound.operation, said(bound.operation, form, text, here))
        except Misused:
            continue
    raise Misused(of_chat(_unlike(alike)))


def unknown(name: str, names: Sequence[str]) -> str:
    meant = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (
        f"I do not know `!{name}`." + (f" Did you mean `!{meant[0]}`?" if meant else "") + " `!help` lists what I know."
    )


def _begins(words: Sequence[str], form: Form) -> bool:
    own = form.words.split()
    return list(words[: len(own)]) == own


def _unlike(pairs: Sequence[tuple[Bound, Form]]) -> list[Any]:
    """Their operations, each once."""
    return list({bound.operation.name: bound.operation for bound, _ in pairs}.values())
