"""A command: a process in a session of its own, its input, its merged output, its end."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH109, PTH123, SIM105

from __future__ import annotations

import errno
import os
import select
import signal
import time

from roommate.sandbox.inside.frames import CHUNK
from roommate.sandbox.inside.kill_tree import GRACE
from roommate.sandbox.inside.output_reader import Reader
from roommate.sandbox.inside.process_family import MARK, Family, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from roommate.sandbox.inside.cgroup_limits import OomKills
    from roommate.sandbox.inside.event_loop import Loop
    from roommate.sandbox.inside.kill_tree import Kills

    class Room(Protocol):
        """Where it runs: see `command_queue.Commands`."""

        loop: Loop
        kills: Kills
        oom_kills: OomKills

        def began(self, command: Command) -> None: ...

        def ended(self, command: Command) -> None: ...

        def leave(self, command: Command) -> None:
            """It waits for its turn, and is not to be started any more."""
            ...

    class Owner(Protocol):
        def room(self) -> int:
            """How many bytes of output it takes now; 0 holds the process back."""
            ...

        def take(self, chunk: bytes) -> None: ...

        def fed(self) -> None:
            """The input that there was is used up."""
            ...

        def started(self) -> None: ...

        def refused(self, why: str) -> None:
            """It was not started, and will not be."""
            ...

        def over(self) -> None:
            """The process has ended, its output is read, and whoever was to be killed is gone."""
            ...


SHELL = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
UNATTENDED = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    "PYTHONUNBUFFERED": "1",
}
"""What commands find in their environment unless the image says otherwise: nobody is there to page or to answer, but
people watch the output come."""
NICE = 10
"""By how much commands are nicer than we are: busy ones must not keep us from ending them. See sched(7)."""
IGNORED = (
    signal.SIGPIPE,
    signal.SIGXFSZ,  # these two Python ignores by itself
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that do nothing to us, so that what is meant for all of a room's processes spares the one that runs them."""
LOOK_EVERY = 0.2
"""Seconds between two looks at a process that is not our child, and so tells nobody of its end."""
UNSEEN = -1
"""The status of a process that ended without us: nobody knows how."""


class Refusal(Exception):
    """What the caller did wrong, in one line."""


def explain(error: OSError, what: str) -> str:
    return {
        errno.ENOENT: f"{what}: no such file or folder",
        errno.ENOTDIR: f"{what}: a part of this path is not a folder",
        errno.EISDIR: f"{what} is a folder",
        errno.EACCES: f"{what}: permission denied",
        errno.EAGAIN: f"{what}: too many processes run in this room",
        errno.E2BIG: f"{what}: arguments are too long (128 KiB at most): put them into a file",
        errno.ENOSPC: f"{what}: the disk is full",
        errno.EDQUOT: f"{what}: the disk is full",
    }.get(error.errno or 0, f"{what}: {error.strerror or error}")


def as_it_was(path: str, now: str) -> None:
    """Raises Refusal where a path that was looked up leads elsewhere now."""
    if now != (path.rstrip("/") or "/"):
        raise Refusal(f"{path[:200]!a} has a symbolic link in it, or none any more: it is not what was looked up")


class Command:
    """To be started when its turn comes. Output that comes after ``over()`` (of a server left in the background)
    still goes to the owner's ``take``, because a closed pipe would kill who prints it."""

    farewell: int = signal.SIGTERM
    """The signal that it gets when it is to end."""

    def __init__(
        self,
        room: Room,
        owner: Owner,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        *,
        stdin: bool = False,
        pipe: Callable[[], tuple[int, int]] = os.pipe,
        counted: bool = True,
        alone: bool = False,
        errors: Callable[[bytes], None] | None = None,
        program: str = "",
    ) -> None:
        """`pipe` gives both ends of where its output goes. `counted`: others wait while many such run. `env` is added
        to the room's environment, or `alone` it is all that there is. `errors` takes what goes to its stderr, if
        that is not to come with the rest. `program` is the file to be run, which `argv` may call something else: it and
        `cwd` have no symbolic links, or it is not started."""
        self.owner, self.argv, self.counted = owner, argv, counted
        self.status: int | None = None
        self.family = Family(0, os.urandom(8).hex())
        self.since = 0.0
        """When it came into the queue, as time.monotonic()."""
        self._room, self._loop = room, room.loop
        self._cwd, self._stdin, self._pipe, self._program = cwd, stdin, pipe, program
        self._env = env if alone else {**os.environ, **env}
        self._errors = errors
        self._killing = self._over = self._gave_up = False
        self._started = self._seconds = 0.0
        self._oom_kills = 0
        self._input = bytearray()
        self._input_whole = False
        self._input_fd: int | None = None
        self._readers: list[Reader] = []

    @property
    def running(self) -> bool:
        return bool(self.family.leader) and self.status is None

    def start(self) -> None:
        """Raises Refusal; BlockingIOError where the room has no process to spare."""
        self._oom_kills = self._room.oom_kills.count()
        self._started = time.monotonic()
        self.family.leader = self._spawn()
        self._room.began(self)
        self.owner.started()
        self._writable()
        self.listen()

    def found(self, leader: int, start: int, mark: str, output: int | None) -> None:
        """It runs already, since an earlier hand started it: nobody tells us when it ends. `start` is its start time
        as in `family`, `output` where to read from, if there is such a place."""
        self._oom_kills = self._room.oom_kills.count()
        self._started = time.monotonic()
        self.family = Family(leader, mark)
        self.family.known = {leader: start}
        if output is not None:
            self._read(output, self.owner.take)
        self._room.began(self)
        self._look(start)
        self.listen()

    def _look(self, start: int) -> None:
        entry = process(self.family.leader)
        if entry is not None and entry[3] == start:
            self._loop.at(LOOK_EVERY, (self, "look"), lambda: self._look(start))
        else:
            self.reaped(UNSEEN)

    def _spawn(self) -> int:
        """posix_spawn shares our memory until the exec (vfork), so it is cheap, and it needs no module."""
        ours: list[int] = []
        given: list[int] = []
        what = self._cwd
        try:
            os.chdir(self._cwd)  # there is one thread here, and every other path is a full one
            if self._program:
                as_it_was(self._cwd, os.getcwd())
                as_it_was(self._program, os.path.realpath(self._program))
            what = self._program or self.argv[0]
            actions, feed, errors = self._connect(ours, given)
            pid = os.posix_spawnp(
                what,
                self.argv,
                {**self._env, MARK: self.family.mark},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=IGNORED,
            )
        except (OSError, ValueError) as error:
            for fd in ours:
                os.close(fd)
            if isinstance(error, BlockingIOError):
                raise
            raise Refusal(explain(error, what) if isinstance(error, OSError) else f"{what[:200]!r}: {error}") from None
        finally:
            for fd in given:
                os.close(fd)
        for fd in ours:
            os.set_blocking(fd, False)
        self._input_fd = feed
        self._read(ours[0], self.owner.take)
        if errors is not None and self._errors is not None:
            self._read(errors, self._errors)
        _step_back(pid)
        return pid

    def _connect(self, ours: list[int], given: list[int]) -> tuple[list[tuple[Any, ...]], int | None, int | None]:
        """Open where it prints to and reads from. `ours` gets our ends, its output first, `given` those for it alone.
        Gives how it takes those, and our ends of its input and its errors, as far as it has such."""
        output, theirs = self._pipe()
        ours.append(output)
        given.append(theirs)
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, theirs, 1), (os.POSIX_SPAWN_DUP2, theirs, 2)]
        feed = errors = None
        if self._errors is not None:
            errors, apart = os.pipe()
            ours.append(errors)
            given.append(apart)
            actions.append((os.POSIX_SPAWN_DUP2, apart, 2))
        if self._stdin:
            source, feed = os.pipe()
            ours.append(feed)
            given.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, 0))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
        return actions, feed, errors

    # ── Output ──

    def listen(self) -> None:
        """Read output exactly while the owner has room for it."""
        for reader in self._readers:
            reader.listen()

    def _read(self, fd: int, take: Callable[[bytes], None]) -> None:
        self._readers.append(Reader(self._loop, fd, self.owner.room, take, self._settle))

    def _give_up(self) -> None:
        """The process ended a while ago and somebody else still holds its output open."""
        # Where we are held back: what fills the pipe may be the process's own.
        if any(reader.open and not reader.listening and reader.late < CHUNK for reader in self._readers):
            self._loop.at(GRACE, (self, "output"), self._give_up)
        else:
            self._gave_up = True
            self._settle()

    # ── Input ──

    def feed(self, chunk: bytes | bytearray) -> None:
        self._input += chunk
        self._writable()

    def feed_end(self) -> None:
        self._input_whole = True
        self._writable()

    def _writable(self) -> None:
        if not self.family.leader:  # it waits to be started
            return
        if self._input_fd is not None and self._input:
            try:
                del self._input[: os.write(self._input_fd, self._input)]
            except BlockingIOError:
                pass
            except OSError:  # nobody reads it any more
                self._input.clear()
        if self._input_fd is not None:
            if self._input:
                self._loop.watch(self._input_fd, select.EPOLLOUT, self._writable)
                return
            self._loop.unwatch(self._input_fd)
            if self._input_whole:
                os.close(self._input_fd)
                self._input_fd = None
        self._input.clear()
        self.owner.fed()

    # ── The end ──

    def reaped(self, status: int) -> None:
        self.status = status
        self.family.reaped = True
        self._room.ended(self)
        self._seconds = time.monotonic() - self._started
        self._oom_kills = self._room.oom_kills.count() - self._oom_kills
        self._input.clear()
        self.feed_end()
        self._room.kills.soon()
        for reader in self._readers:
            reader.late = 0
            reader.read()
        if any(reader.open for reader in self._readers):
            self._loop.at(GRACE, (self, "output"), self._give_up)
        self._settle()

    def exit(self) -> dict[str, Any]:
        assert self.status is not None
        by_signal = self.status != UNSEEN and os.WIFSIGNALED(self.status)
        return {
            "code": None if by_signal or self.status == UNSEEN else os.WEXITSTATUS(self.status),
            "signal": os.WTERMSIG(self.status) if by_signal else None,
            "seconds": self._seconds,
            "out_of_memory": self._oom_kills > 0,
        }

    def kill(self, why: str, grace: float = GRACE) -> None:
        """Its farewell to all of the family, and SIGKILL to who is left `grace` seconds later, until nobody is. A
        command that waits to be started is refused, saying why."""
        if not self.family.leader:
            self._room.leave(self)
            self.owner.refused(why)
        elif not self._killing:
            self._killing = True
            self._room.kills.add(self, grace)

    def signal(self, number: int) -> None:
        """Send it to the process group that it was started as."""
        if self.running:
            try:
                os.killpg(self.family.leader, number)
            except OSError:  # it is another's by now
                pass

    def gone(self) -> None:
        """All who were to be killed are."""
        self._killing = False
        self._settle()

    def _settle(self) -> None:
        held = any(reader.open for reader in self._readers) and not self._gave_up
        if self.status is not None and not held and not self._killing and not self._over:
            self._over = True
            self._loop.forget((self, "output"))
            self.owner.over()


def _step_back(pid: int) -> None:
    """A command goes after us: for processors, and first when the room's memory is used up."""
    try:
        os.setpriority(os.PRIO_PGRP, pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        with open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"500")
    except OSError:
        pass  # it has ended
