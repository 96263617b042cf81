"""The words every part of the house speaks: ids, what people do, what a turn does, what goes out."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType

RoomId = NewType("RoomId", str)
UserId = NewType("UserId", str)
EventId = NewType("EventId", str)

JsonObject = dict[str, Any]


# ── What happens in Matrix: one sync, parsed ─────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Message:
    """A person wrote. ``attachment`` is the file name when it was a file, picture, sound or video."""

    text: str
    thread: EventId | None = None
    reply_to: EventId | None = None
    mentions: tuple[UserId, ...] = ()
    attachment: str | None = None


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
    """An encrypted event that this daemon has no key for."""


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
    edit: bool = False
    """It changed an earlier message of the bot."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A row that a later release has stored, which was rolled back: what its `kind` is only that one knows."""

    kind: str


Happening = (
    Message | Edit | Redaction | Reaction | Unreadable | Invite | Arrived | Gone | Tombstone | Answered | Unknown
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


Way = Literal["password", "login token", "OAuth", "MATRIX_ACCESS_TOKEN"]
"""How an account was logged in to."""


@dataclass(frozen=True, slots=True)
class Account:
    """A login. One that ends has the time of it in `expires_at`, in seconds since 1970."""

    homeserver: str
    user_id: UserId
    device_id: str
    """Empty for a token that belongs to no device."""
    access_token: str = field(repr=False)
    way: Way = "password"
    refresh_token: str = field(default="", repr=False)
    """Gets the next access token, and with it the next of these; empty where there is none."""
    expires_at: float | None = None
    client_id: str = ""
    """What the authorization server calls us, for OAuth."""


# ── Keys of ours in the content of what goes out: clients that know them see more ─────────────────

TURN = "io.roommate.turn"
"""Of a turn's message: ``id``; ``state``, ``running`` or at last a Stop; ``prompt``, the event that it answers."""

ANSWERS = "io.roommate.answers"
"""Of any other message that answers something: the id of that event."""

SAID = "io.roommate.said"
"""Of what the bot says for somebody at the command line: ``by`` whom, the ``text``, the ``session`` it came from."""

CARD = "io.roommate.card"
"""Of a card: ``what`` it asks. ✅ and ❌ mean something here."""


# ── What goes out ────────────────────────────────────────────────────────────────────────────────


class Rank(enum.IntEnum):
    """Who goes first when the homeserver lets us send only so much."""

    CARD = 0
    ANSWER = 1
    SIGN = 2
    """The first sign of a live message, marks on queued messages."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Something that must arrive. It becomes one row of the outbox, with its transaction id fixed there.

    ``content`` is a whole Matrix event content, except for what is only known when it is sent: with ``edits`` (the
    outbox id of an earlier row) it is the NEW content, and the sender wraps it into an ``m.replace`` of that row's
    event; with ``redacts`` that row's event is redacted and ``content`` may hold a ``reason``; with ``upload`` the
    bytes are uploaded first and the content's ``url`` is filled in. ``once`` names what may be sent once only.
    """

    room_id: RoomId
    content: JsonObject
    rank: Rank = Rank.ANSWER
    event_type: str = "m.room.message"
    edits: int | None = None
    redacts: int | None = None
    upload: bytes | None = field(default=None, repr=False)
    once: str | None = None


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


class CardKind(enum.StrEnum):
    """What a card is about, and so who deals with the choice. Rows hold these names: none is ever another's."""

    EGRESS = "egress"
    HOOK = "hook"
    RESET_WORKSPACE = "reset-workspace"
    REDEPLOY = "redeploy"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Question:
    """What a card asks the people of a room. They choose with a reaction of one of the `choices`."""

    what: CardKind
    text: str
    """Markdown: all that somebody must know to decide."""
    subject: str = ""
    """What it is about, for who deals with the choice. A room has one open question of a kind and subject."""
    choices: tuple[str, ...] = ("✅", "❌")
    operators_only: bool = False
    seconds: float = 86_400
    """How long it stays open."""
    details: tuple[str, str] | None = None
    """A summary, and Markdown that stands behind it."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A row of the outbox that has not arrived yet."""

    id: int
    txn_id: str
    draft: Draft
    target: EventId | None = None
    """The event id of the row that ``edits`` or ``redacts`` names; None when there is none or it never arrived."""


# ── A conversation, as the model sees it ─────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is the raw text that the model wrote: it may be anything, JSON or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    sender: UserId


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said in one round; with ``calls`` it waits for their results."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """For a model that sees."""

    mimetype: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave. ``text`` is for the model; ``title`` is one short line for people (``exit 0 · 1.2 s``).

    ``picture`` is shown to the model as long as the turn runs; it is not stored, and the text does without.
    """

    call_id: str
    text: str
    ok: bool = True
    title: str = ""
    picture: Picture | None = None


Step = Prompt | Answer | ToolResult
"""A row of a turn. A turn is one Prompt, then rounds of one Answer and a ToolResult for each of its calls."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls took. ``cost`` is US dollars, None where the price is not known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        known = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            sum(known) if known else None,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """What a coding agent in a room used of one model; empty is a name that nobody said."""

    agent: str
    model: str
    requests: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole model call."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = NO_USAGE


# ── What happens in a turn: one stream of facts, one place turns them into chat ──────────────────


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The model said a piece more."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDropped:
    """The reply that was being streamed is given up (a retry): what it said since the last Said does not count."""

    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """The model's reply of this round is whole."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """`title` is what the call is about, as `ports.Tools` has it."""

    call: ToolCall
    title: str = ""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A running tool printed; ``text`` is the newest piece, already decoded."""

    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolStep:
    """What runs within a tool call took a step of its own: a coding agent called one of its tools.

    A later event with the same `key` takes its place. Every text is a stranger's.
    """

    call_id: str
    key: str
    what: str
    subject: str = ""
    diff: str = ""
    ok: bool | None = None
    """None while it runs."""


@dataclass(frozen=True, slots=True)
class ToolFinished:
    result: ToolResult


@dataclass(frozen=True, slots=True)
class Spent:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know about this turn (resumed after a restart, older messages left out)."""

    text: str


class HookKind(enum.StrEnum):
    """What an IPC file is; part of its name."""

    PROGRESS = "event-progress"
    RESULT = "event-result"
    NOTIFICATION = "notification"
    APPROVAL = "approval-request"


IN_TURN = "ROOMMATE_TURN"
"""Variable in the environment of what a turn starts: hooks report it."""


@dataclass(frozen=True, slots=True)
class HookEvent:
    """What a hook in the room's container reported: from a hostile place, cleaned and bounded."""

    kind: HookKind
    agent: str = ""
    """Such as ``gemini``; empty for hooks of others."""
    session: str = ""
    tool: str = ""
    """The tool that the agent calls; empty where it is about none."""
    summary: str = ""
    """What the call is about, or the title of a notification."""
    ok: bool | None = None
    """None before it has ended."""
    seconds: float | None = None
    exit_code: int | None = None
    text: str = ""
    """What the call or the agent gave; of an approval request the kind of risk, such as ``push``."""
    asks: str = ""
    """Id of an approval request; the answer carries it."""
    command: str = ""
    """What an approval request is about, as it would be done: all of it, or more than may be asked about."""
    turn: int | None = None
    """In which it says that it was started, where it says so."""


Event = TextDelta | TextDropped | Said | ToolStarted | ToolOutput | ToolStep | ToolFinished | Spent | Note | HookEvent


class Stop(enum.StrEnum):
    """Why a turn ended."""

    DONE = "done"
    ROUNDS = "rounds"
    STOPPED = "stopped"
    FAILED = "failed"

    @classmethod
    def _missing_(cls, value: object) -> Stop:
        """Of a later release, which was rolled back: in any case the turn has ended."""
        return cls.FAILED


# ── What runs in a sandbox ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: ``code`` 0-255, or None with ``signal`` when a signal ended it; of a background process both
    may be None: nobody saw it. ``seconds`` is wall time."""

    code: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    spilled: str | None = None
    """Path in the workspace that holds the whole output, when it was longer than the call keeps."""
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A part of a file: ``size`` is the whole file's, in bytes; ``content`` starts at the asked offset."""

    content: bytes
    size: int


@dataclass(frozen=True, slots=True)
class DirEntry:
    """``kind`` is ``file``, ``dir``, ``link`` or ``other``; ``size`` in bytes."""

    path: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Where rooms connect to: ``host`` a name, an address, ``*.example.org`` for all below it, ``*`` for any.

    ``port`` 0 stands for the web's, 80 and 443.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


@dataclass(frozen=True, slots=True)
class Job:
    """A background process of the room; ``exit`` is None while it runs. ``log`` is its output's path."""

    id: str
    command: str
    log: str
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class ShellLook:
    """How a room's shell was when a call had looked at it: at its prompt with the exit ``code`` of the command before,
    or at its ``end``; else it still runs the command that begins with ``running``."""

    code: int | None
    end: Exit | None
    running: str
    cwd: str
    """The folder it is in; "" where that is not known."""
    fresh: bool
    """It began with this call: of a shell before it nothing is left."""
    seconds: float
    """That the call looked."""
    spilled: str | None
    """As in `Exit`."""


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What became of a task that a coding agent was given."""

    agent: str
    ok: bool
    text: str
    """What it said in the end, or what went wrong."""
    how: str
    """For people, in a few words: ``3 calls · 12 s``."""
    transcript: str = ""
    """Path in the workspace of all that it said and did."""


# ── Who did what ─────────────────────────────────────────────────────────────────────────────────


class DeedOutcome(enum.StrEnum):
    DONE = "done"
    REFUSED = "refused"
    """Whoever asked for it may not."""
    FAILED = "failed"


DAEMON = "daemon"
"""Who did it where nobody asked; and where it came from then."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done, or refused, and that an operator may have to account for: a line of the audit log.

    What people write, what models answer and what is secret has no place in it.
    """

    who: str
    """Matrix id, ``uid 1000`` at the control socket, a peer's key, or DAEMON."""
    via: str
    """Where it came from: the id of the event in chat, ``socket``, a file, or DAEMON."""
    what: str
    """Such as ``egress.add``: the thing, and what became of it."""
    outcome: DeedOutcome = DeedOutcome.DONE
    room_id: RoomId | None = None
    subject: str = ""
    """What it was done to, such as a host or a room's new model."""
    detail: str = ""
    """Why it was refused or failed, or how it was done."""


# ── The forge ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Repository:
    """``name`` is ``owner/name``, as the forge writes it."""

    name: str
    default_branch: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """``is_new``: it was made just now, and not found."""

    number: int
    url: str
    is_new: bool


# ── What doctor finds ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``what``, what was ``found``, and how to ``mend`` it when it is not ok.

    What is not ``needed`` is a warning: Roommate works without it, less well or less safely.
    """

    what: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True

    @property
    def level(self) -> str:
        """``ok``, ``warn`` or ``fail``."""
        return "ok" if self.ok else "fail" if self.needed else "warn"


# ── What an update is at ─────────────────────────────────────────────────────────────────────────


class UpdateStep(enum.StrEnum):
    """In their order; what an update is at."""

    BUILD = "build"
    CHECK = "check"
    IMAGE = "image"
    RESTART = "restart"
    """The running daemon closes, saves the database and hands over."""
    TRIAL = "trial"
    """The new release runs, takes in what is said and answers nothing: it can still go back with nothing lost."""
    CONFIRMED = "confirmed"
    """It works for people from here on."""
    DONE = "done"
    FAILED = "failed"
    """The old release runs, on the database as it left it."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step of an update that has come to its end; ``said`` is one line for people."""

    step: UpdateStep
    seconds: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """An update from one release to another, both named by the first 12 digits of their commits."""

    id: str
    old: str
    new: str
    commit: str
    """The new release's, whole."""
    by: str
    """Who wanted it: a Matrix id, or a user of this machine."""
    started: float
    """Seconds since 1970, as all times here."""
    step: UpdateStep = UpdateStep.BUILD
    step_began: float = 0.0
    taken: tuple[StepTaken, ...] = ()
    why: str = ""
    """Why it fails, once that is clear."""
    runs: bool = True
    """A daemon ran when it began, and one is to run when it ends."""
    supervised: bool = False
    """Somebody else, such as systemd, starts the daemon again when it ends."""
    room_id: RoomId | None = None
    message: int | None = None
    """Outbox id of the message in that room that tells how it goes."""
    told: bool = False
    """People were told how it ended."""

    @property
    def open(self) -> bool:
        return self.step not in (UpdateStep.DONE, UpdateStep.FAILED)
