"""The one bridge into a room's container, as those know it who call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from roommate.domain.sandbox_results import DirEntry, Exit, FileSlice, Job, ShellLook

Take = Callable[[bytes], Awaitable[None] | None]
"""Takes a piece of what a program prints. An awaitable that it returns holds the program back."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of a room, as it says itself: its command line, and the turn that has started it."""

    command: str = ""
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Absolute paths without symbolic links; empty what leads nowhere."""

    folder: str
    program: str
    """The file that would run."""
    named_in: str
    """The folder where it has its `name`, which its links lead on from; both are empty where the programs in there may
    give such names themselves."""
    name: str
    paths: Sequence[str]
    """Those that were asked for; they need not be there yet."""


class Clock(Protocol):
    """The time of a turn's commands: it stands still while people decide."""

    @property
    def stopped(self) -> bool: ...

    async def until(self, *, stopped: bool) -> None:
        """Returns when it stands still, or goes on."""
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
        clock: Clock | None = None,
        called: str = "",
    ) -> Exit:
        """Run a program, or a text with the shell (bash where the image has it, else sh); stdout and stderr come
        merged, as printed, to `on_output`, unless somebody takes the errors apart. `env` is added to the room's
        environment; `alone` it is all there is.

        An awaitable that `on_output` returns holds the process back. At `timeout` seconds, by this `clock` where there
        is one, and when the caller is cancelled, the process and all it started are killed. Past `spill_after` bytes
        the whole output also goes to a file in the workspace, named in the Exit.

        `called` is what the program finds as its name where that is not the first word; then that word and `cwd` are
        absolute paths without symbolic links, and where one has a link now nothing is started: ToolError.
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
        called: str = "",
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

    async def read(self, path: str, offset: int = 0, limit: int = 1 << 20, *, exact: bool = False) -> FileSlice:
        """`exact`, here and below: `path` is absolute and has no symbolic link; where it has one now, ToolError."""
        ...

    async def write(self, path: str, content: bytes | bytearray, *, exact: bool = False) -> None:
        """Replace a file whole, at once (a rename), keeping its mode; folders on the way are made."""
        ...

    async def write_pieces(self, path: str, pieces: AsyncIterator[bytes], *, exact: bool = False) -> None:
        """As `write`, piece by piece, however long they take to come. Raises what `pieces` raises, too: then the file
        is as it was."""
        ...

    async def list(
        self, path: str, pattern: str | None = None, limit: int = 1000, *, exact: bool = False
    ) -> tuple[list[DirEntry], int]:
        """Entries of a folder, or with a glob `pattern` (``**`` crosses folders) all below that match; and how many
        there are in all. Sorted by path; ``.git`` and ``node_modules`` are not walked into."""
        ...

    async def locate(self, program: str, paths: Sequence[str] = (), *, cwd: str = "/workspace") -> Located:
        """Which files these are, asked for in that folder."""
        ...

    async def start_job(self, command: str, *, cwd: str = "/workspace") -> Job:
        """Start a background process. It outlives the call, the turn, the daemon and the hand, not the container."""
        ...

    async def job(self, job_id: str) -> Job: ...

    async def jobs(self) -> Sequence[Job]: ...

    async def stop_job(self, job_id: str) -> Job:
        """SIGTERM to the whole process group, SIGKILL two seconds later; returns when it has ended."""
        ...
