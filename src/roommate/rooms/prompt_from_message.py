"""What a message asks a turn for: its words, with what it replies to, and the files that belong to it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from roommate.domain import EventId, JsonObject, Message, Prompt, RoomId, SentFile, UserId
from roommate.errors import MatrixError
from roommate.host import deadlines
from roommate.matrix import parse
from roommate.rooms.prompt_context import RepliedTo, in_reply
from roommate.store import ReceivedFiles, RepliedMessages, Waiting

log = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
"""No turn waits longer for a message of long ago."""
REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """`about` are the events whose files belong to it; it may ask `again` what that event has asked."""

    prompt: Prompt
    about: tuple[EventId, ...] = ()
    again: EventId | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """In all rooms. `event` gives an event of a room whole, as the homeserver has it."""

    rows: RepliedMessages
    files: ReceivedFiles
    event: Callable[[RoomId, EventId], Awaitable[JsonObject]]
    bot: Callable[[], UserId]
    _known: dict[EventId, RepliedTo] = field(default_factory=dict)

    async def waits_for_files(self, waiting: Waiting, message: Message) -> bool:
        """Are files to come before this message goes on? Then its row is held until they are there."""
        incoming = waiting.incoming
        files: dict[EventId, tuple[UserId, SentFile]] = {}
        if message.reply_to is not None:
            to = await self._replied_to(incoming.room_id, message.reply_to)
            if to is not None and to.file is not None and not to.ours:
                files[message.reply_to] = (to.sender, to.file)
        if message.file is not None and message.again is None:
            files[incoming.event_id] = (incoming.sender, message.file)
        return bool(files) and await self.files.expect(waiting.seq, incoming.room_id, message.thread, files)

    async def asked(self, waiting: Waiting, message: Message, text: str) -> Asked:
        incoming, about = waiting.incoming, [waiting.incoming.event_id]
        if message.reply_to is not None:
            text = in_reply(text, await self._replied_to(incoming.room_id, message.reply_to))
            about.append(message.reply_to)
        if message.again is not None:
            about.append(message.again)
        return Asked(Prompt(text, incoming.sender), tuple(about), message.again)

    async def _replied_to(self, room_id: RoomId, event: EventId) -> RepliedTo | None:
        """By our rows, else by the homeserver, which is asked once; None where it cannot be had."""
        if known := self._known.get(event):
            return known
        row = await self.rows.find(room_id, event, self.bot())
        if row is not None and row.message is not None:
            return RepliedTo(row.sender, row.message.text, file=row.message.file)
        if row is not None:
            return RepliedTo(row.sender, row.answer, ours=True)
        try:
            async with deadlines.within(FETCH_SECONDS):
                said = parse.said(await self.event(room_id, event))
        except (MatrixError, TimeoutError) as error:
            log.info("what is replied to cannot be read: %s", error)
            return None
        if said is None:
            return None
        sender, text, file = said
        found = RepliedTo(sender, text, sender == self.bot(), file)
        self._known[event] = found
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found
