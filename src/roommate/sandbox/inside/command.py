"""A command: a process in a session of its own, its input, its merged output, its end."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH123

from __future__ import annotations

import errno
import os
import select
import signal
import time

from roommate.sandbox.inside.family import MARK, Family, sweep
from roommate.sandbox.inside.frames import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from roommate.sandbox.inside.hand import Hand

    class Owner(Protocol):
        def room(self) -> int:
            """How many bytes of output it takes now; 0 holds the process back."""
            ...

        def take(self, chunk: bytes) -> None: ...

        def fed(self) -> None:
            """The input that there was is used up."""
            ...

        def over(self) -> None:
            """The process has ended, its output is read, and whoever was to be killed is gone."""
            ...


GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL; also how long others may hold the output open when the process has ended."""
SPAWNS = 100
"""Tries to start a process, 10 ms apart, once others were ended for it: they count until init has reaped them."""
REAPED = 20
"""The same where nobody was there to be ended: what was killed just before may still count."""
SWEPT = b"[too many processes ran in this room: those that earlier commands had left behind were ended]\n"
KILLS = 40
"""Rounds of SIGKILL, 50 ms apart, after which a family that is still there is given up (stuck in the kernel)."""


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


class Command:
    """Started when made. Output that comes after ``over()`` (of a server left in the background) still goes to the
    owner's ``take``, because a closed pipe would kill who prints it."""

    def __init__(self, hand: Hand, owner: Owner, argv: list[str], cwd: str, env: dict[str, str], stdin: bool) -> None:
        """Raises Refusal."""
        self.status: int | None = None
        self._hand, self._loop, self._owner = hand, hand.loop, owner
        self._killing = self._over = self._gave_up = self._listening = False
        self._kills = self._late = 0
        self._patience = self._seconds = 0.0
        self._input = bytearray()
        self._input_whole = False
        self._input_fd: int | None = None
        self._output_fd: int | None = None
        mark = hand.unique()
        self._oom_kills = hand.oom_kills()
        self._started = time.monotonic()
        self._pid = self._spawn(argv, cwd, {**os.environ, **env, MARK: mark}, stdin)
        self.family = Family(self._pid, mark)
        hand.commands[self._pid] = self
        self.listen()

    def _spawn(self, argv: list[str], cwd: str, env: dict[str, str], stdin: bool) -> int:
        """posix_spawn shares our memory until the exec (vfork), so it is cheap, and it needs no module."""
        output, theirs = os.pipe()
        ours, given = [output], [theirs]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, theirs, 1), (os.POSIX_SPAWN_DUP2, theirs, 2)]
        if stdin:
            source, feed = os.pipe()
            ours.append(feed)
            given.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, 0))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
        what = cwd
        try:
            os.chdir(cwd)  # there is one thread here, and every other path is a full one
            what = argv[0]
            pid = self._start(argv, env, actions)
        except (OSError, ValueError) as error:
            for fd in ours:
                os.close(fd)
            raise Refusal(explain(error, what) if isinstance(error, OSError) else f"{what[:200]!r}: {error}") from None
        finally:
            for fd in given:
                os.close(fd)
        for fd in ours:
            os.set_blocking(fd, False)
        self._output_fd = output
        self._input_fd = ours[1] if stdin else None
        try:  # when the room's memory is used up, the kernel shall take them first and not the hand
            with open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
                file.write(b"500")
        except OSError:
            pass
        return pid

    def _start(self, argv: list[str], env: dict[str, str], actions: list[tuple[Any, ...]]) -> int:
        """Where the room's processes are at their limit, those go that earlier commands left behind."""
        swept = False
        for patience in range(SPAWNS):
            try:
                pid = os.posix_spawnp(
                    argv[0],
                    argv,
                    env,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # these two Python ignores, and so do we
                )
            except BlockingIOError:
                swept = sweep([command.family for command in self._hand.commands.values()]) or swept
                if patience == (SPAWNS if swept else REAPED) - 1:
                    raise
                time.sleep(0.01)
                continue
            if swept:
                self._owner.take(SWEPT)
            return pid
        raise AssertionError("the loop returns or raises")

    # ── Output ──

    def listen(self) -> None:
        """Read output exactly while the owner has room for it."""
        if self._output_fd is not None:
            want = self._owner.room() > 0
            if want and not self._listening:
                self._loop.watch(self._output_fd, select.EPOLLIN, self._readable)
            elif self._listening and not want:
                self._loop.unwatch(self._output_fd)
            self._listening = want

    def _readable(self) -> None:
        room = self._owner.room()
        if self._output_fd is not None and room > 0:
            try:
                chunk = os.read(self._output_fd, min(room, CHUNK))
            except BlockingIOError:
                return
            if chunk:
                self._late += len(chunk) if self.status is not None else 0
                self._owner.take(chunk)
            else:
                self._loop.unwatch(self._output_fd)
                os.close(self._output_fd)
                self._output_fd = None
                self._settle()
        self.listen()

    def _give_up(self) -> None:
        """The process ended a while ago and somebody else still holds its output open."""
        if not self._listening and self._late < CHUNK:  # held back: what fills the pipe may be the process's own
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
        self._owner.fed()

    # ── The end ──

    def reaped(self, status: int) -> None:
        self.status = status
        self._seconds = time.monotonic() - self._started
        self._oom_kills = self._hand.oom_kills() - self._oom_kills
        self._input.clear()
        self.feed_end()
        if self._killing:
            self._see_them_gone()
        self._readable()
        if self._output_fd is not None:
            self._loop.at(GRACE, (self, "output"), self._give_up)
        self._settle()

    def exit(self) -> dict[str, Any]:
        assert self.status is not None
        by_signal = os.WIFSIGNALED(self.status)
        return {
            "code": None if by_signal else os.WEXITSTATUS(self.status),
            "signal": os.WTERMSIG(self.status) if by_signal else None,
            "seconds": self._seconds,
            "out_of_memory": self._oom_kills > 0,
        }

    def kill(self, grace: float = GRACE) -> None:
        """SIGTERM to all of the family, and SIGKILL to who is left `grace` seconds later, until nobody is."""
        if not self._killing:
            self._killing = True
            self._kills = 0
            self._patience = time.monotonic() + grace
            self.family.signal(signal.SIGTERM, self.status is not None)
            self._loop.soon(self._see_them_gone)

    def _see_them_gone(self) -> None:
        reaped = self.status is not None
        if time.monotonic() < self._patience:
            left = self.family.alive(reaped)
        else:
            self._kills += 1
            left = self.family.signal(signal.SIGKILL, reaped) and self._kills < KILLS
        if left:
            self._loop.at(0.05, (self, "kill"), self._see_them_gone)
        else:
            self._killing = False
            self._settle()

    def _settle(self) -> None:
        held = self._output_fd is not None and not self._gave_up
        if self.status is not None and not held and not self._killing and not self._over:
            self._over = True
            self._loop.forget((self, "output"))
            self._owner.over()
