"""What the bot itself says in rooms: stored, with the row of the inbox that it answers, and the sender told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roommate.chat import texts
from roommate.domain import Deed, Draft, EventId, Rank, RoomId
from roommate.matrix import render
from roommate.rooms.live_message_port import Progress
from roommate.store import Inbox, Outbox, mark_of


def notice(room_id: RoomId, markdown: str, thread: EventId | None = None) -> Draft:
    """A notice of the bot itself."""
    return Draft(room_id, render.content(markdown, notice=True, thread=thread))


def queue_mark(room_id: RoomId, event_id: EventId, seq: int) -> Draft:
    """The reaction that shows a message as queued; the store takes it off when the message is dealt with."""
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": texts.QUEUED}
    return Draft(room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=mark_of(seq))


@dataclass(frozen=True, slots=True)
class Replies:
    inbox: Inbox
    outbox: Outbox
    progress: Progress

    async def done(self, seq: int, *drafts: Draft, deeds: Sequence[Deed] = ()) -> None:
        """A row of the inbox is dealt with, and this is said of it."""
        await self.inbox.done(seq, drafts, deeds)
        if drafts:
            self.progress.wake()

    async def say(self, *drafts: Draft) -> None:
        """What answers nothing."""
        if drafts:
            await self.outbox.put(drafts)
            self.progress.wake()

    async def queue(self, seq: int, *drafts: Draft) -> None:
        """A row has to wait: it is marked, and perhaps more is said of it."""
        await self.inbox.queue(seq, *drafts)
        self.progress.wake()

    def wake(self) -> None:
        """What was stored elsewhere has something in it for people."""
        self.progress.wake()
