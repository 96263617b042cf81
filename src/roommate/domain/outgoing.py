"""What goes out to rooms."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from roommate.domain.ids import EventId, JsonObject, RoomId

TURN = "io.roommate.turn"
"""Of a turn's message: ``id``; ``state``, ``running`` or at last a Stop; ``prompt``, the event that it answers;
``also``, events that the turn has taken in while it ran."""

ANSWERS = "io.roommate.answers"
"""Of any other message that answers something: the id of that event."""

SAID = "io.roommate.said"
"""Of what the bot says for somebody at the command line: ``by`` whom, the ``text``, the ``session`` it came from."""

CARD = "io.roommate.card"
"""Of a card: ``what`` it asks. ✅ and ❌ mean something here."""

PEER_REQUEST = "io.roommate.request"
"""Of what shows a request of one daemon to another, at either end: ``state``, ``open`` or ``done``."""

TOLD = "io.roommate.told"
"""Of what rings for operators and asks nothing: true."""


RUN_AGAIN = "again:"
"""How the `once` of a Draft begins that offers to run something again."""


class Rank(enum.IntEnum):
    """Who goes first when the homeserver lets us send only so much."""

    CARD = 0
    ANSWER = 1
    SIGN = 2
    """The first sign of a live message, marks on queued messages."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Something that must arrive. It becomes one row of the outbox, with its transaction id fixed there.

    With ``state_key`` it is a state event where the bot may set it, else one of the timeline. ``content`` is a whole
    Matrix event content, except for what is only known when it is sent: with ``edits`` (the
    outbox id of an earlier row) it is the NEW content, and the sender wraps it into an ``m.replace`` of that row's
    event; with ``redacts`` that row's event is redacted and ``content`` may hold a ``reason``; with ``upload`` the
    bytes are uploaded first and the content's ``url`` is filled in. ``once`` names what may be sent once only,
    and ``everywhere`` what is the same event also where nobody knows any more that it was written down.
    """

    room_id: RoomId
    content: JsonObject
    rank: Rank = Rank.ANSWER
    event_type: str = "m.room.message"
    edits: int | None = None
    redacts: int | None = None
    upload: bytes | None = field(default=None, repr=False)
    once: str | None = None
    state_key: str | None = None
    everywhere: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file for people. ``width`` and ``height`` are those of a picture, else 0."""

    name: str
    content: bytes = field(repr=False)
    mimetype: str
    caption: str = ""
    """What it shows, in words."""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A row of the outbox that has not arrived yet."""

    id: int
    txn_id: str
    draft: Draft
    target: EventId | None = None
    """The event id of the row that ``edits`` or ``redacts`` names; None when there is none or it never arrived."""
