"""What waits for its turn: who said what, in the order in which it comes, and one of it dropped."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import EventId, Message, RoomId, UserId
from roommate.errors import NotFound
from roommate.operations import Call, Change, OfRoom, Who, operation
from roommate.store import Inbox, Transaction, Waiting
from roommate.store.inbox_claim import take
from roommate.text.amounts import age
from roommate.text.printable import in_code, one_line, plain

SHOWN = 20
LONGEST_TEXT = 100


class Place(OfRoom):
    n: Annotated[int, Field(ge=1, title="N", description="Its place in the list.")]


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """`place` counts from 1, `seconds` since it was said; `text` is its beginning, or what its file is called."""

    place: int
    sender: UserId
    name: str
    text: str
    seconds: float


def _listed(found: Sequence[QueuedMessage]) -> str:
    lines = [f"{one.place}. {_named(one)} ({age(one.seconds)} ago)" for one in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"\n… and {len(found) - SHOWN} more")
    return "\n".join([*lines, "\n`!queue drop N` drops one."]) if lines else "Nothing waits in this conversation."


def _named(one: QueuedMessage) -> str:
    return f"{plain(one.name)}: {in_code(one.text, LONGEST_TEXT)}"


@dataclass(frozen=True, slots=True)
class MessageQueue:
    inbox: Inbox
    name: Callable[[RoomId, str], Awaitable[str]]
    """What people call somebody there."""
    wake: Callable[[RoomId], None]

    @operation("queue.list", reads=_listed, who=Who.ANYONE, chat="queue", cli="queue ls")
    async def list(self, params: OfRoom, call: Call) -> Sequence[QueuedMessage]:
        """Lists what waits for its turn: in this conversation, or at the host in all of a room."""
        found = await self._waiting(call)
        return [await self._shown(place, one) for place, one in enumerate(found, 1)]

    @operation(
        "queue.drop",
        reads=lambda dropped: f"Dropped {_named(dropped)}",
        who=Who.ANYONE,
        audit="queue.drop",
        subject=lambda params: str(params.n),
        chat="queue drop",
        cli="queue drop",
    )
    async def drop(self, params: Place, call: Call) -> Change[QueuedMessage]:
        """Drops one of the messages that wait, by its place in the list."""
        found = await self._waiting(call)
        gone = NotFound(f"nothing waits at place {params.n}: `!queue` lists what does")
        if params.n > len(found):
            raise gone
        chosen = found[params.n - 1]
        shown = await self._shown(params.n, chosen)

        def work(c: Transaction) -> QueuedMessage:
            if not take(c, chosen.seq):
                raise gone
            return shown

        async def wake() -> None:
            self.wake(call.its_room)

        return Change(work, after=wake)

    async def _waiting(self, call: Call) -> Sequence[Waiting]:
        thread = EventId(call.thread) if call.thread else None
        return await self.inbox.in_line(call.its_room, thread, everywhere=call.here is None)

    async def _shown(self, place: int, one: Waiting) -> QueuedMessage:
        incoming, what = one.incoming, one.incoming.what
        text = ""
        if isinstance(what, Message):
            text = (one.line or what.text).strip() or (what.file.name if what.file else "")
        name = await self.name(incoming.room_id, incoming.sender)
        text, waited = one_line(text, LONGEST_TEXT), max(0.0, time.time() - incoming.sent_at / 1000)
        return QueuedMessage(place, incoming.sender, name, text, waited)
