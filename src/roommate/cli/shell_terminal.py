"""A program of a room in this terminal, such as its shell: keys go in, what it prints comes out, as with ssh."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roommate.control.frames import Frames, framed
from roommate.errors import ControlError
from roommate.text.printable import printable

KEYS = 1 << 16
"""Bytes that are typed ahead; who pastes more has to wait."""
_DETACH, _LEFT = b".", 0


class Escape:
    """Finds ``~.`` at the beginning of a line, which leaves, as in ssh; ``~~`` there is one ``~``."""

    def __init__(self) -> None:
        self._begins, self._held = True, b""

    def feed(self, keys: bytes) -> tuple[bytes, bool]:
        """What is to be typed, and whether to leave then."""
        typed = bytearray()
        for at in range(len(keys)):
            key = keys[at : at + 1]
            if self._held:
                self._held = b""
                if key == _DETACH:
                    return bytes(typed), True
                typed += b"~" if key == b"~" else b"~" + key
            elif key == b"~" and self._begins:
                self._held = key
            else:
                typed += key
            self._begins = key in (b"\r", b"\n")
        return bytes(typed), False


@dataclass(frozen=True, slots=True)
class Program:
    """What runs in this terminal: `opens` gives the method and its parameters for one of so many rows and columns;
    `type` and `resize` are the methods by which it is talked to."""

    opens: Callable[[int, int], tuple[str, dict[str, Any]]]
    type: str
    resize: str


def shell(room: str, term: str) -> Program:
    """A shell in a room; `term` is what terminal this is, see term(7)."""

    def opens(rows: int, columns: int) -> tuple[str, dict[str, Any]]:
        return "sandbox.shell", {"room": room, "rows": rows, "columns": columns, "term": term or "dumb"}

    return Program(opens, "sandbox.type", "sandbox.resize")


def exit_code(ended: dict[str, Any]) -> int:
    """Ours, of how a program ended, as a shell has it: 124 where its time was over, 255 where nobody knows how."""
    if ended.get("timed_out"):
        return 124
    if ended["code"] is not None:
        return int(ended["code"])
    return 255 if ended["signal"] is None else 128 + int(ended["signal"])


async def attend(path: Path, program: Program) -> int:
    """The program's exit code, from the daemon that listens on `path`. Raises ControlError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise ControlError(f"the daemon does not answer: {error.strerror or error}") from error
    try:
        return await _Attended(reader, writer, program).run()
    except OSError as error:
        raise ControlError(f"the daemon hung up: {error.strerror or error}") from error
    finally:
        writer.close()


class _Attended:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, program: Program) -> None:
        self._reader, self._writer, self._program = reader, writer, program
        self._loop = asyncio.get_running_loop()
        self._requests = 0
        self._answered = asyncio.Event()
        self._keys = bytearray()
        self._news = asyncio.Event()
        """Keys were pressed, or the window has another size."""
        self._resized = False
        self._escape = Escape()
        self._left: asyncio.Future[int] = self._loop.create_future()
        """The exit code of who leaves before the shell ends."""

    async def run(self) -> int:
        with contextlib.ExitStack() as terminal:
            for number in (signal.SIGHUP, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._leave, 128 + number)
            showing = asyncio.create_task(self._show(terminal))
            typing = asyncio.create_task(self._type())
            try:
                ends: list[asyncio.Future[Any]] = [showing, typing, self._left]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if typing.done():
                    typing.result()
                return showing.result() if showing.done() else self._left.result()
            finally:
                showing.cancel()
                typing.cancel()
                await asyncio.wait([showing, typing])

    async def _show(self, terminal: contextlib.ExitStack) -> int:
        method, params = self._program.opens(*_size())
        shell = self._ask(method, **params)
        frames = Frames()
        while piece := await self._reader.read(KEYS):
            for content in frames.feed(piece):
                said = json.loads(content)
                if said.get("method"):
                    self._take(said["params"]["item"], terminal)
                elif said["id"] != shell:
                    self._answered.set()
                elif error := said.get("error"):
                    raise ControlError(error["message"], error.get("data", {}).get("exit_code", 1))
                else:
                    return exit_code(said["result"])
        raise ControlError("the daemon hung up: the shell has ended")

    def _take(self, item: Any, terminal: contextlib.ExitStack) -> None:
        if isinstance(item, dict) and "told" in item:
            os.write(2, f"roommate: {printable(item['told'])}\r\n".encode())
            return
        if isinstance(item, dict):
            self._name = item["shell"]
            terminal.enter_context(_raw())
            self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
            self._loop.add_reader(0, self._read)
            terminal.callback(self._loop.remove_reader, 0)
            return
        output = memoryview(base64.b64decode(item))
        while output:
            output = output[os.write(1, output) :]

    async def _type(self) -> None:
        """One thing after the other: the answer says that the room has taken it."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._resized:
                self._resized = False
                rows, columns = _size()
                await self._do(self._program.resize, rows=rows, columns=columns)
            while self._keys:
                keys = bytes(self._keys)
                self._keys.clear()
                self._loop.add_reader(0, self._read)
                await self._do(self._program.type, keys=base64.b64encode(keys).decode())

    async def _do(self, method: str, **params: Any) -> None:
        self._answered.clear()
        self._ask(method, shell=self._name, **params)
        await self._writer.drain()
        await self._answered.wait()

    def _ask(self, method: str, **params: Any) -> int:
        self._requests += 1
        request = {"jsonrpc": "2.0", "id": self._requests, "method": method, "params": params}
        self._writer.write(framed(json.dumps(request).encode()))
        return self._requests

    def _read(self) -> None:
        try:
            keys = os.read(0, 4096)
        except OSError:
            keys = b""
        typed, leaves = self._escape.feed(keys)
        if leaves or not keys:
            self._leave(_LEFT if leaves else 128 + signal.SIGHUP)
        self._keys += typed
        if len(self._keys) > KEYS:
            self._loop.remove_reader(0)
        self._news.set()

    def _resize(self) -> None:
        self._resized = True
        self._news.set()

    def _leave(self, code: int) -> None:
        self._loop.remove_reader(0)
        if not self._left.done():
            self._left.set_result(code)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes into the room, Ctrl-C as well; afterwards the terminal is as it was."""
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the window was closed
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _size() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return 24, 80
    return max(rows, 1), max(columns, 1)
