"""The ports where packages meet: each says what one part needs of another, and daemon.py plugs them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from roommate.domain import (
    AgentReport,
    Attachment,
    Check,
    Deed,
    Destination,
    DirEntry,
    Event,
    EventId,
    Exit,
    FileSlice,
    Job,
    JsonObject,
    Outgoing,
    PullRequest,
    Question,
    Reply,
    Repository,
    RoomId,
    ShellLook,
    Step,
    SyncBatch,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
    UserId,
)

Emit = Callable[[Event], None]
"""Takes a fact of a turn. Never blocks, never raises: what it leads to in chat happens elsewhere."""

Take = Callable[[bytes], Awaitable[None] | None]
"""Takes a piece of what a program prints. An awaitable that it returns holds the program back."""


class Model(Protocol):
    """Something that answers a history, perhaps with tool calls."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int:
        """How many tokens of prompt and history the model reads."""
        ...

    @property
    def sees(self) -> bool:
        """It takes the pictures of results."""
        ...

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        """One model call, streamed: emits TextDelta (and TextDropped when a retry starts the reply again).

        `history` is valid: each call of an Answer has its ToolResult behind it. Raises ModelError; cancelling it
        closes the connection at once.
        """
        ...


class Session(Protocol):
    """A program in a room that is talked to while it runs."""

    async def finish(self, on_output: Take, on_errors: Take = lambda _: None) -> Exit:
        """What it prints goes to `on_output`, which holds it back as in `Hand.run`, until it ends. Await it at once,
        and once: leaving it ends the program. Raises HandLost, ToolError where it cannot be started."""
        ...

    async def write(self, data: bytes) -> None:
        """To its input, or into its terminal. Returns when all of it is on its way: one task at a time."""
        ...

    def end(self) -> None:
        """Its input ends; a terminal's does not."""
        ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def signal(self, number: int) -> None:
        """To its process group; in a terminal to the one in the foreground, as Ctrl-C sends SIGINT."""
        ...


class Hand(Protocol):
    """The one bridge into a room's container: every path and process here is inside of it.

    Raises HandLost when the container or the hand dies in mid-call (the next call brings it up again), ToolError for
    what the caller did wrong (no such file, a folder, not permitted).
    """

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = "/workspace",
        env: dict[str, str] | None = None,
        alone: bool = False,
        stdin: bytes = b"",
        timeout: float | None = None,
        on_output: Take = lambda _: None,
        on_errors: Take | None = None,
        spill_after: int | None = None,
    ) -> Exit:
        """Run a program, or a text with the shell (bash where the image has it, else sh); stdout and stderr come
        merged, as printed, to `on_output`, unless somebody takes the errors apart. `env` is added to the room's
        environment; `alone` it is all there is.

        An awaitable that `on_output` returns holds the process back. At `timeout` seconds, and when the caller is
        cancelled, the process and all it started are killed. Past `spill_after` bytes the whole output also goes to a
        file in the workspace, named in the Exit.
        """
        ...

    def session(
        self,
        command: str | Sequence[str],
        *,
        terminal: tuple[int, int] | None = None,
        cwd: str = "/workspace",
        env: dict[str, str] | None = None,
        alone: bool = False,
        apart: bool = False,
    ) -> Session:
        """Start a program, to be talked to, in a `terminal` of so many rows and columns, or without one, and then with
        its stderr `apart` or not; the rest is as in `run`. In a terminal its environment is one for people: what keeps
        programs from asking is not there.
        Raises HandLost, ToolError."""
        ...

    async def shell(
        self,
        command: str | None = None,
        *,
        typed: str | None = None,
        interrupt: bool = False,
        end: bool = False,
        timeout: float,
        on_output: Take = lambda _: None,
        spill_after: int | None = None,
    ) -> ShellLook:
        """Look at the room's one shell until it is at its prompt again, has ended, or `timeout` seconds are over.

        A `command` is for a shell at its prompt: one starts where there is none, in the workspace. What is `typed`, at
        most 4096 bytes, is for what runs in it, and the look ends then when an answer was printed, and silence
        follows; `interrupt` is Ctrl-C, `end` ends the shell with all that runs in it. It has a terminal, stays from
        call to call, and ends with the hand's connection. `on_output` and `spill_after` are as in `run`; what is
        printed while nobody looks is kept, 256 KiB of it, and then holds back who prints.
        """
        ...

    async def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> FileSlice: ...

    async def write(self, path: str, content: bytes) -> None:
        """Replace a file whole, at once (a rename), keeping its mode; folders on the way are made."""
        ...

    async def list(self, path: str, pattern: str | None = None, limit: int = 1000) -> tuple[list[DirEntry], int]:
        """Entries of a folder, or with a glob `pattern` (``**`` crosses folders) all below that match; and how many
        there are in all. Sorted by path; ``.git`` and ``node_modules`` are not walked into."""
        ...

    async def start_job(self, command: str, *, cwd: str = "/workspace") -> Job:
        """Start a background process. It outlives the call, the turn, the daemon and the hand, not the container."""
        ...

    async def job(self, job_id: str) -> Job: ...

    async def jobs(self) -> Sequence[Job]: ...

    async def stop_job(self, job_id: str) -> Job:
        """SIGTERM to the whole process group, SIGKILL two seconds later; returns when it has ended."""
        ...


class Tunnel(Protocol):
    """A connection that a process of a room made to a port where the daemon serves. One task reads, one writes."""

    async def read(self) -> bytes:
        """What came since, b"" when no more comes. Raises HandLost when the other side is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way. Raises HandLost."""
        ...

    def end(self) -> None:
        """No more is written."""
        ...

    async def caller(self) -> str:
        """The command line of the process that connected, as the room tells it; "" where it is not known.

        All processes of the room are looked at for it. Raises HandLost.
        """
        ...


class Serves(Protocol):
    """Where tunnels come from: a room's hand."""

    def serve(self, port: int, handler: Callable[[Tunnel], Awaitable[None]]) -> None:
        """Each connection to this port of 127.0.0.1 in the container gets the handler; at its end it is closed."""
        ...


class Audit(Protocol):
    """The log of who did what: rows are added, and nothing changes them."""

    async def record(self, deed: Deed) -> None:
        """Returns when it is on the disk. What is too long for a line is cut."""
        ...


class EgressLog(Protocol):
    """Where a room's own rules about its way out are kept."""

    async def rules(self, room_id: RoomId) -> Sequence[Destination]: ...

    async def add(self, room_id: RoomId, rule: Destination, by: UserId) -> None: ...

    async def presets(self, room_id: RoomId) -> tuple[str, ...] | None:
        """None where the room has chosen none."""
        ...


class RepoLog(Protocol):
    """Where it is kept which repositories of the forge a room may use. Names do not tell cases apart."""

    async def granted(self, room_id: RoomId, name: str) -> str | None:
        """The name as it was granted; None when it was not."""
        ...


class Proposals(Protocol):
    """How a room proposes changes to its repositories at the forge. Raises ToolError."""

    def named(self, url: str) -> str | None:
        """``owner/name`` of the repository with this URL; None when it is none of the forge."""
        ...

    async def repository(self, name: str) -> Repository:
        """One that the room may use."""
        ...

    def is_protected(self, repository: Repository, branch: str) -> bool: ...

    async def propose(self, repository: Repository, *, branch: str, title: str, body: str) -> PullRequest:
        """A pull request from a branch that was pushed to the default branch; the one that is open already, if any."""
        ...


class UsageLog(Protocol):
    """Where it is counted what the coding agents of a room use of models."""

    async def count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None: ...


class Sandboxes(Protocol):
    """The containers of all rooms."""

    async def hand(self, room_id: RoomId) -> Hand:
        """The room's hand; its container is made or started first where needed. Raises SandboxError."""
        ...

    def up(self, room_id: RoomId) -> bool:
        """Does the room's container run, so that its hand is there at once?"""
        ...

    @property
    def running(self) -> int:
        """How many containers run."""
        ...

    def has_files(self, room_id: RoomId) -> bool:
        """Has the room had a container?"""
        ...

    async def describe(self, room_id: RoomId) -> str:
        """One line for people: state, image, memory, processes, disk. It does not wait for Podman for long."""
        ...

    async def disk(self, room_id: RoomId) -> tuple[int, int | None]:
        """Bytes that the room's files take, and how many they may take, where that is limited."""
        ...

    async def stop(self, room_id: RoomId) -> None:
        """Stop the room's container; the next call starts it again. Raises SandboxError."""
        ...

    async def reset_workspace(self, room_id: RoomId) -> None:
        """Delete every file of the room's workspace, on purpose; its container goes as well."""
        ...

    async def leave(self, room_id: RoomId) -> None:
        """Remove the room's container; its workspace stays."""
        ...

    async def move(self, old: RoomId, new: RoomId) -> bool:
        """The files of `old` are those of `new` from now on; containers of both go. Once more does no harm. False where
        `new` has files of its own: then each keeps its own. Raises SandboxError."""
        ...

    async def check(self) -> Sequence[Check]:
        """What works on this host and what does not."""
        ...


class Agents(Protocol):
    """The coding agents of one room."""

    @property
    def names(self) -> Sequence[str]:
        """Those that can be asked, as far as is known: there is a key for them."""
        ...

    async def work(self, role: str, task: str, agent: str, *, hand: Hand, call_id: str, emit: Emit) -> AgentReport:
        """Give a task to the agent of this name, or with "" to the first that is there for this role: ``plan``,
        ``review``, ``implement``, ``ask``. Emits ToolOutput and ToolStep. Raises ToolError when there is none."""
        ...


class AgentLog(Protocol):
    """Where a room's choice of coding agents, and its conversations' sessions with them, are kept."""

    async def preferred(self, room_id: RoomId, role: str) -> tuple[str, ...]:
        """Empty where the room has chosen none."""
        ...

    async def session(self, conversation_id: int, agent: str) -> str:
        """The one to go on with; empty for none."""
        ...

    async def keep_session(self, conversation_id: int, agent: str, session: str) -> None: ...


class Share(Protocol):
    """Shows files to the people of a room, where the turn's own messages are."""

    async def largest(self) -> int:
        """How many bytes a file may have."""
        ...

    async def show(self, call_id: str, file: Attachment) -> None:
        """Once for a tool call, whatever crashes: when this returns, it will arrive. Raises ToolError."""
        ...


class Tools(Protocol):
    """What the model can do in one room."""

    @property
    def specs(self) -> Sequence[ToolSpec]: ...

    def title(self, call: ToolCall) -> str:
        """What a call is about, such as a path, for people; empty where that is not known. A stranger's text."""
        ...

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        """Do it. Never raises but for cancellation: whatever goes wrong is a result that says so (`ok` False)."""
        ...


class Doors(Protocol):
    """Into a room and out of it. Raises Transient or Refused."""

    async def join(self, room_id: RoomId, via: Sequence[str] = ()) -> None:
        """`via` are servers that know the room."""
        ...

    async def leave(self, room_id: RoomId, reason: str) -> None:
        """Leave a room, or decline its invite; people see the reason."""
        ...

    async def state(self, room_id: RoomId, kind: str) -> JsonObject:
        """A room's state event of this type, with its ``content``."""
        ...

    async def event(self, room_id: RoomId, event_id: EventId) -> JsonObject:
        """The content of an event."""
        ...


class Window(Protocol):
    """Into a room, to look at it."""

    async def follow(
        self, room: RoomId, since: str | None, back: int, timeout_ms: int
    ) -> tuple[Sequence[JsonObject], str]:
        """The room's events since then, as the homeserver has them, and the next `since`; without one the last `back`.

        Raises Transient or Refused.
        """
        ...


class Ask(Protocol):
    """Ask the people of a room."""

    async def __call__(self, room_id: RoomId, question: Question) -> str:
        """Put up a card, and wait for the choice: a reaction's key without U+FE0F. Waits for ever: bound it yourself.

        A card with the same `what` and `subject` that is still open is not put up again. It survives who asked: the
        choice then goes to whoever deals with that `what`.
        """
        ...


class Spools(Protocol):
    """The folders through which hooks in the rooms and the daemon exchange IPC files."""

    def attach(self, room_id: RoomId, out: Path, into: Path) -> None:
        """A room's container is up: hooks write into `out`, and read answers from `into`."""
        ...

    def detach(self, room_id: RoomId) -> None:
        """Its folders may go away."""
        ...

    async def answer(self, room_id: RoomId, asks: str, content: JsonObject, *, allow: str = "") -> None:
        """Answer a hook that waits; with `allow`, risks of that kind are not asked about in this room again."""
        ...


class SyncLog(Protocol):
    """Where intake keeps what it read."""

    async def since(self) -> str | None: ...

    async def joined_rooms(self) -> Mapping[RoomId, int]:
        """With how many members, the bot included; 0 where that is not known."""
        ...

    async def commit(self, batch: SyncBatch) -> None:
        """Everything of the batch and its token, in one transaction; happenings already known are passed over."""
        ...

    async def replaces(self, room_id: RoomId) -> bool:
        """Does this room replace one that the bot was in, so that it joined by itself?"""
        ...


class OutboxLog(Protocol):
    """Where the sender finds what must arrive."""

    async def unsent(self, after: int = 0) -> Sequence[Outgoing]:
        """Rows behind row `after`, in the order in which they were written: none comes before one that was given."""
        ...

    async def event_of(self, row: int) -> EventId | None:
        """The event that a row became; None while it has not arrived. A live message of an earlier process needs it."""
        ...

    async def uploaded(self, row: int, url: str) -> None: ...

    async def sent(self, row: int, event_id: str) -> None: ...

    async def failed(self, row: int, why: str) -> None:
        """It can never arrive."""
        ...

    async def pace(self) -> float:
        """Seconds between two events that this homeserver let us send in the long run; 0 where no limit was met yet."""
        ...

    async def learned(self, seconds: float) -> None:
        """A 429 taught us the pace."""
        ...


class Progress(Protocol):
    """Where a live message's newest look goes; only the newest counts and none is stored."""

    def progress(self, room_id: RoomId, row: int, look: Callable[[], Awaitable[JsonObject]]) -> None:
        """The live message (outbox row `row`) has something new to show. `look` gives its whole new content and is
        called only when an edit is about to be sent, so that a hundred pieces of text cost one rendering."""
        ...

    def forget(self, row: int) -> None:
        """The final edit is on its way: show no more progress of this row."""
        ...

    async def withdraw(self, room_id: RoomId) -> None:
        """Send no more of what waits for this room; returns when nothing of it is on its way."""
        ...

    def wake(self) -> None:
        """The outbox has new rows."""
        ...

    async def typing(self, room_id: RoomId, on: bool) -> None:
        """Best effort; never raises."""
        ...
