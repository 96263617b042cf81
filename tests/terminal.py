"""A program in a terminal of its own: what a person would type and read there."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import time
from collections.abc import Mapping
from typing import Self

from wcwidth import wcwidth

from tests.patience import PATIENCE

_PIECE = re.compile(
    r"\x1b\[([0-9;?]*)([a-zA-Z])|\x1b\][^\x07]*\x07|\x1b[=>()][A-Z0-9]?|\x1b([78])|([\x00-\x1f])|([^\x00-\x1f]+)"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07]*|[()])?\Z")


class Screen:
    """What is to be read, the lines that scrolled away included. Knows what prompt_toolkit and rich write."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._rest = ""
        self._saved = 0, 0

    def fold(self, columns: int) -> None:
        """As terminals do that become narrower."""
        rows: list[list[str]] = []
        for at, row in enumerate(self._rows):
            if at == self._row:
                cursor = len(rows) + self._column // columns
            whole = list(row)
            while whole and whole[-1] == " ":
                whole.pop()
            rows += [whole[start : start + columns] for start in range(0, len(whole) or 1, columns)]
        self._rows, self._row, self._column = rows, cursor, self._column % columns

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._rows)

    def write(self, text: str) -> None:
        text = self._rest + text
        self._rest = found[0] if (found := _UNFINISHED.search(text)) else ""
        for piece in _PIECE.finditer(text.removesuffix(self._rest)):
            number, order, place, control, words = piece.groups()
            if words:
                for character in words:
                    self._put(character)
            elif order:
                self._obey(order, int(number) if number.isdigit() else 0)
            elif place == "7":
                self._saved = self._row, self._column
            elif place == "8":
                self._row, self._column = self._saved
            elif control == "\n":
                self._row += 1
            elif control == "\r":
                self._column = 0
            elif control == "\b":
                self._column = max(0, self._column - 1)
            while self._row >= len(self._rows):
                self._rows.append([])

    def _obey(self, order: str, number: int) -> None:
        row = self._rows[self._row]
        match order:
            case "A":
                self._row = max(0, self._row - (number or 1))
            case "B":
                self._row += number or 1
            case "C":
                self._column += number or 1
            case "D":
                self._column = max(0, self._column - (number or 1))
            case "K":
                del row[self._column :]
            case "J":
                del row[self._column :]
                del self._rows[self._row + 1 :]

    def _put(self, character: str) -> None:
        row = self._rows[self._row]
        width = wcwidth(character)
        if width <= 0:
            return
        row.extend(" " * (self._column + width - len(row)))
        row[self._column : self._column + width] = [character, *[""] * (width - 1)]
        self._column += width


class Terminal:
    """`screen` is what the person sees, `written` all that the terminal was given. Use as an async context manager."""

    def __init__(self, *command: str, environment: Mapping[str, str], columns: int = 100, rows: int = 40) -> None:
        self.screen = Screen()
        self.written = bytearray()
        self._command = command
        self._environment = {**os.environ, "TERM": "xterm-256color", **environment}
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        self._before = termios.tcgetattr(theirs)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self._environment,
            start_new_session=True,
            preexec_fn=_as_a_shell_does,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def type(self, text: str) -> None:
        """Keys as a terminal sends them: Enter is ``\\r``, Ctrl-C is ``\\x03``."""
        os.write(self._ours, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As who pulls at the window's corner does."""
        self.screen.fold(columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def see(self, words: str, timeout: float = PATIENCE, *, gone: bool = False) -> None:
        """Wait until these words stand on the screen; with `gone` until they do not."""
        deadline = time.monotonic() + timeout
        while (words in self.screen.text) == gone:
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} is {'still' if gone else 'not'} there after {timeout} s:\n{self.screen.text}"
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    async def until_hidden(self, timeout: float = PATIENCE) -> None:
        """Wait until what is typed is not shown: what was typed before that would be thrown away."""
        async with asyncio.timeout(timeout):
            while termios.tcgetattr(self._ours)[3] & termios.ECHO:
                await asyncio.sleep(0.01)

    async def until_raw(self, timeout: float = PATIENCE) -> None:
        """Wait until the program has every key as it is typed."""
        async with asyncio.timeout(timeout):
            while termios.tcgetattr(self._ours)[3] & (termios.ECHO | termios.ICANON):
                await asyncio.sleep(0.01)

    def is_as_before(self) -> bool:
        """Has the program left the terminal as it was given it?"""
        return termios.tcgetattr(self._ours) == self._before

    def hang_up(self) -> None:
        """As who closes the window does."""
        self._process.send_signal(signal.SIGHUP)

    async def ended(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        async with asyncio.timeout(timeout):
            return await self._process.wait()

    def _read(self) -> None:
        try:
            news = os.read(self._ours, 1 << 16)
        except OSError:  # the program is gone
            news = b""
        if not news:
            asyncio.get_running_loop().remove_reader(self._ours)
        for _ in range(news.count(b"\x1b[6n")):  # where is the cursor?
            os.write(self._ours, b"\x1b[1;1R")
        self.written += news
        self.screen.write(self._decoder.decode(news))
        self._news.set()


def _as_a_shell_does() -> None:
    """Runs in the program to be: the terminal becomes its own, and Ctrl-C means it, also where a suite runs that
    was started in the background and ignores it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
