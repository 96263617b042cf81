"""A command in a terminal of its own (a PTY, see pty(7)): with a size, a foreground, and somebody who types."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH115, SIM105

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

from roommate.sandbox.inside.command import UNATTENDED, Command, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.command import Owner, Room

_SIZE = struct.Struct("HHHH")


class Terminal(Command):
    """What is fed to it is typed; with `script` it is the command's stdin instead, a pipe, and `type` types.

    A terminal that has a `script` shows nothing of what is typed, and leaves line ends as they are: nobody sits there.
    """

    farewell = signal.SIGHUP  # a shell at its prompt ignores SIGTERM

    def __init__(
        self,
        room: Room,
        owner: Owner,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        *,
        rows: int,
        columns: int,
        script: bool = False,
        program: str = "",
    ) -> None:
        super().__init__(room, owner, argv, cwd, env, stdin=script, counted=False, program=program)
        if not script:  # somebody does sit there
            self._env = {name: value for name, value in self._env.items() if UNATTENDED.get(name) != value}
        self.path = ""
        """Of the terminal, as soon as it has started."""
        self._size = (rows, columns)
        self._ours = -1

    def start(self) -> None:
        try:
            super().start()
        except (OSError, Refusal):
            self._ours = -1  # it was closed
            raise

    @property
    def cwd(self) -> str:
        """The folder that its first process is in."""
        try:
            return os.readlink(f"/proc/{self.family.leader}/cwd") if self.running else ""
        except OSError:
            return ""

    def resize(self, rows: int, columns: int) -> None:
        """The foreground is told by SIGWINCH."""
        self._size = (rows, columns)
        if self._ours >= 0:
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        """What is more than a terminal holds, some KiB that nobody has read, is lost."""
        try:
            os.write(self._ours, text)
        except OSError:  # it is full; or it has ended, or not begun
            pass

    def signal(self, number: int) -> None:
        """Send it to all of the foreground, as Ctrl-C sends SIGINT."""
        try:
            os.killpg(os.tcgetpgrp(self._ours), number)
        except OSError:  # nobody is there
            pass

    def reaped(self, status: int) -> None:
        super().reaped(status)
        os.close(self._ours)
        self._ours = -1

    def _connect(self, ours: list[int], given: list[int]) -> tuple[list[tuple[Any, ...]], int | None, int | None]:
        output, theirs = os.openpty()
        ours.append(output)
        given.append(theirs)
        self.path = os.ttyname(theirs)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, _SIZE.pack(*self._size, 0, 0))
        # Whoever leads a session and opens a terminal gets it as its own.
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 1, self.path, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        if self._stdin:
            modes = termios.tcgetattr(theirs)
            modes[1] &= ~termios.ONLCR
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(theirs, termios.TCSANOW, modes)
            source, feed = os.pipe()
            ours.append(feed)
            given.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, 0))
        else:
            feed = os.dup(output)
            ours.append(feed)
            actions.append((os.POSIX_SPAWN_DUP2, 1, 0))
        self._ours = os.dup(output)
        ours.append(self._ours)
        return actions, feed, None
