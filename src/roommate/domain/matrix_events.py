"""What happens in Matrix: one sync, parsed."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.domain.ids import EventId, JsonObject, RoomId, UserId


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file, picture, sound or video, as its event tells of it: it may all be wrong."""

    name: str
    url: str
    """``mxc://…``"""
    mimetype: str = ""
    size: int = 0
    """Bytes; 0 where it is not said."""
    voice: bool = False
    """Somebody speaks: https://github.com/matrix-org/matrix-spec-proposals/pull/3245"""
    key: JsonObject | None = None
    """What it is decrypted with, an ``EncryptedFile``; None where it is not encrypted."""


@dataclass(frozen=True, slots=True)
class Message:
    """A person wrote, or sent a ``file``: then the text is what they said of it."""

    text: str
    thread: EventId | None = None
    reply_to: EventId | None = None
    mentions: tuple[UserId, ...] = ()
    file: SentFile | None = None
    again: EventId | None = None
    """It was said before, as this event, and is asked once more: such a row is made by a reaction."""
    alone: bool = False
    """It is a prompt of its own, whatever is said around it: such a row is made by a schedule."""
    late: bool = False
    """It could not be read when it came: what had been said by then is not known."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A person changed an earlier message (``m.replace``); ``text`` is the new text."""

    target: EventId
    text: str


@dataclass(frozen=True, slots=True)
class Redaction:
    target: EventId


@dataclass(frozen=True, slots=True)
class Reaction:
    target: EventId
    key: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An encrypted event that cannot be read."""

    key_missing: bool = False
    """Its sender's device did not give us the key; else this daemon reads none at all."""


@dataclass(frozen=True, slots=True)
class Invite:
    """The bot was invited; the happening's sender is who did it."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The bot is in a room that it was not in before."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The bot is out of a room: it left, was kicked or banned (``reason`` says which, for people)."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The room is replaced by another one; the happening's sender is who did it."""

    new: RoomId


@dataclass(frozen=True, slots=True)
class Answered:
    """The bot itself has answered an earlier event: its own message, as the homeserver has it.

    A database knows that already, unless it is a copy from before that was put back.
    """

    to: EventId
    text: str = ""
    stop: str = ""
    """How the turn ended, where it was one; empty for a command, or while it ran."""
    runs: bool = False
    """It is the message of a turn that ran, and that had no answer yet."""
    edits: EventId | None = None
    """The earlier message of the bot that it changed, if any."""
    also: tuple[EventId, ...] = ()
    """Further events that are answered with it."""

    @property
    def edit(self) -> bool:
        return self.edits is not None


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """A message of the bot's own, at its place among what people say."""

    txn_id: str
    """What it was sent with; empty where it was by another device of the bot."""
    answers: Answered | None = None


@dataclass(frozen=True, slots=True)
class MeshEvent:
    """A daemon asks another one for something, answers it, or says who it is. Nothing of it is believed yet."""

    type: str
    """One of MESH_TYPES."""
    content: JsonObject
    state_key: str | None = None
    """Of a state event; None where it stands in the timeline."""


MESH_REQUEST = "io.roommate.mesh.request"
MESH_REPLY = "io.roommate.mesh.reply"
MESH_INPUT = "io.roommate.mesh.input"
MESH_INTRODUCTION = "io.roommate.mesh.introduction"
MESH_TYPES = (MESH_REQUEST, MESH_REPLY, MESH_INPUT, MESH_INTRODUCTION)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A row that a later release has stored, which was rolled back: what its `kind` is only that one knows."""

    kind: str


Happening = (
    Message
    | Edit
    | Redaction
    | Reaction
    | Unreadable
    | Invite
    | Arrived
    | Gone
    | Tombstone
    | Answered
    | OwnMessage
    | MeshEvent
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One thing that happened in one room. ``event_id`` makes it unique; ``sent_at`` is ms since 1970."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    sent_at: int
    what: Happening


@dataclass(frozen=True, slots=True)
class RoomState:
    """What a sync said of a room. None means that it said nothing about this."""

    room_id: RoomId
    membership: str
    """``join``, ``invite`` or ``leave``."""
    joined: int | None = None
    """Members who have joined, the bot included."""
    encrypted: bool | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """One sync with its gaps filled: stored in ONE transaction, so that it counts wholly or not at all."""

    next_batch: str
    rooms: tuple[RoomState, ...]
    happened: tuple[Incoming, ...]
    comes_again: bool = False
    """Who asks with the token of before is told all of it once more."""
