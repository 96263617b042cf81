"""Reactions to messages that are no cards: 🛑 stops a turn, 🔁 runs its prompt again, 👍 and 👎 are kept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from roommate.domain import Deed, EventId, UserId
from roommate.monitoring.counts import BAD, GOOD, Counts
from roommate.rooms.bot_answers import Replies
from roommate.rooms.turns_side_by_side import Meant
from roommate.settings.config import Settings
from roommate.store import Inbox, MessageReactions, Waiting, Work
from roommate.store.inbox import closing
from roommate.store.reactions_from_people import asking_again, rating
from roommate.store.received_files import retrying

STOP = frozenset({"🛑", "⏹"})
AGAIN = "🔁"
RATINGS = {"👍": GOOD, "👎": BAD}

_VARIANTS = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")
"""What makes an emoji of a sign, and tones of skin."""


class Stop(Protocol):
    """See `Room.stop`."""

    def __call__(
        self, by: UserId, meant: Meant, along: Callable[[int], Work[object] | None] | None = None
    ) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True)
class ReactionMeanings:
    """In all rooms."""

    rows: MessageReactions
    inbox: Inbox
    replies: Replies
    settings: Callable[[], Settings]
    counts: Counts

    async def react(self, waiting: Waiting, target: EventId, key: str, stop: Stop) -> bool:
        """Do what is meant, with the reaction's row; False where it is nothing of these, and nothing was done."""
        sign, incoming = _VARIANTS.sub("", key), waiting.incoming
        if sign not in STOP | RATINGS.keys() | {AGAIN}:
            return False
        found = await self.rows.target(incoming.room_id, target)
        if found is None:
            return False
        settings, by = self.settings(), incoming.sender
        if not settings.is_allowed(by):
            await self.replies.done(waiting.seq)
        elif sign in STOP and found.runs:
            deed = Deed(by, incoming.event_id, "turn.cancel", room_id=incoming.room_id, subject=str(found.turn))
            await stop(by, lambda turn: turn.id == found.turn, lambda _: closing(waiting.seq, lambda _: ((), [deed])))
        elif sign == AGAIN and not found.runs:
            again = asking_again(waiting.seq, incoming.room_id, found.prompt, settings.bot)
            if await self.inbox.do(retrying(found.prompt, incoming.room_id)) or not await self.inbox.do(again):
                await self.replies.done(waiting.seq)
        elif sign in RATINGS and found.turn is not None:
            await self.inbox.do(rating(found.turn, sign, incoming))
            await self.replies.done(waiting.seq)
            self.counts.ratings[RATINGS[sign]] += 1
        else:
            await self.replies.done(waiting.seq)
        return True
