"""The room's shell: one interactive shell, whose folder, variables and programs stay from one call to the next.

It reads commands from a pipe and not from its terminal, so that what is typed can reach programs alone, and a command
may be as long as it likes. When a command is done the shell prints a mark into the terminal, behind the command's own
output. After Ctrl-C or a mistake an interactive shell drops the rest of its line: so the mark is its prompt as well.

A Ctrl-C is for a command that runs, and for nothing else. It may be early: a shell that has read half a command drops
that half, and runs the other one. So a command begins with a mark, and the Ctrl-C waits for it. It may be late: the
command has just ended, and the shell drops the next one. So something is sent behind it that shows, in a prompt with a
mark of its own, that the shell has heard it.
"""

from __future__ import annotations

import os
import signal
import time

from roommate.sandbox.inside.call import Call
from roommate.sandbox.inside.command import SHELL, Refusal
from roommate.sandbox.inside.frames import CHUNK
from roommate.sandbox.inside.spill import Spill
from roommate.sandbox.inside.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roommate.sandbox.inside.call import Calls
    from roommate.sandbox.inside.command_queue import Commands
    from roommate.sandbox.inside.output_files import Place
    from roommate.sandbox.inside.path_resolution import Folders

KEPT = 1 << 18
"""Bytes of output that are kept while nobody looks; then whoever prints has to wait."""
ROWS, COLUMNS = 50, 160
TYPED = 4096
"""Bytes that can be typed at once."""
PATIENCE = 2.0
"""Seconds that a program has to react to Ctrl-C when its call is not wanted any more; then the shell goes."""
AGAIN = 0.25
"""Seconds between two Ctrl-C then."""
HEARD = 0.1
"""Seconds until a shell that is at its prompt is told again to show that it has heard a Ctrl-C: it may have dropped
that line, too."""
SETTLED = 0.7
"""Seconds of silence after which what was typed counts as answered."""
LABEL = 200
"""Characters of a running command that are told."""

_ARGV = [SHELL, "--noediting", "--norc", "-i"] if SHELL.endswith("/bash") else [SHELL, "-i"]
_ENVIRONMENT = {"PS1": "", "PS2": "", "ENV": "", "HISTFILE": "", "VIRTUAL_ENV_DISABLE_PROMPT": "1"}
_BEGIN = (
    '[ -z "$BASH_VERSION" ] || [ ! -f ~/.bashrc ] || . ~/.bashrc <%(terminal)s; unset PS1 PS2; PS1= PS2=; '
    '[ -z "$BASH_VERSION" ] || { set +o history +H; unset PROMPT_COMMAND HISTFILE; }\n'
)
_DO = (
    "PS1='\033]%(mark)s;$?\007'; printf '\033]%(begun)s\007' >%(terminal)s; eval %(command)s <%(terminal)s; "
    "printf '\\033]%(mark)s;%%d\\007' \"$?\" >%(terminal)s; PS1=\n"
)
_SHOW = "PS1='\033]%(mark)s;0\007'\n"


class Shell:
    """From its start to its end."""

    def __init__(self, commands: Commands, cwd: str, told: Callable[[Shell], None]) -> None:
        """`told` hears that a call has said that it ended."""
        self.look: Look | None = None
        """The call that looks at it."""
        self.running = ""
        """The beginning of the command that it runs; "" at its prompt."""
        self.code = 0
        """The exit code of the command before."""
        self.ended = False
        self.told, self._loop = told, commands.loop
        self._begins = self._wanted = False
        """The shell has yet to read the command; a Ctrl-C waits for that."""
        self._awaited = False
        """The command is done, and a Ctrl-C is to be heard of."""
        self._number = 0
        self._command = ""
        self._secret = f"roommate-{os.urandom(8).hex()}"
        self._mark = f"\033]{self._secret};".encode()
        self._interrupts = 0
        """Times that Ctrl-C was typed."""
        self._heard = 0
        """So many of them the shell has shown to have heard."""
        self._begun = b""
        """What may be the beginning of a mark."""
        self._output = bytearray()
        self._due: int | None = None
        """Where the output ends of what has come to its end; None while a command runs."""
        self.terminal = Terminal(commands, self, _ARGV, cwd, _ENVIRONMENT, rows=ROWS, columns=COLUMNS, script=True)

    def do(self, command: str) -> None:
        self._number += 1
        self._begins, self._wanted = True, False
        self._due = None
        self.running = command if len(command) <= LABEL else command[: LABEL - 1] + "…"
        self._command = "'" + command.replace("'", "'\"'\"'") + "'"
        if self.terminal.running:  # else it is done when the shell has started
            self._feed(_DO)

    def type(self, text: bytes) -> None:
        """For what runs in it; what is beyond that program's patience is lost."""
        self.terminal.type(text[:TYPED])

    def interrupt(self) -> None:
        """For what runs in it: a shell at its prompt, or on its way there, would drop the next command."""
        if self._begins:
            self._wanted = True
        elif self.running and not self._awaited and self.terminal.running:
            self.terminal.signal(signal.SIGINT)
            self._interrupts += 1
            self._show_heard()

    def end(self) -> None:
        self._due = None
        self.running = self.running or "its end"
        self.terminal.kill("it was ended before it began")

    def show(self) -> None:
        """A call looks at it now, which gets the output until it is done."""
        if not self.running:
            self._due = len(self._output)  # what programs in the background printed
        self._loop.soon(self.pump)

    def pump(self) -> None:
        """Give to the call that looks what it has room for."""
        while (look := self.look) is not None:
            size = len(self._output) if self._due is None else self._due
            if size == 0:
                if self._due is not None:
                    look.done("over" if self.ended else "prompt")
                break
            if (room := min(look.room(), size)) == 0:
                break
            piece = bytes(self._output[:room])
            del self._output[:room]
            if self._due is not None:
                self._due -= room
            look.take(piece)
        self.terminal.listen()

    def _show_heard(self) -> None:
        mark = f"{self._secret};i{self._interrupts}"
        self.terminal.feed((_SHOW % {"mark": mark}).encode())
        if self._awaited:
            self._loop.at(HEARD, (self, "heard"), self._show_heard)

    def _at_prompt(self) -> None:
        self.running, self._begins, self._awaited = "", False, False
        self._due = len(self._output)
        self._loop.forget((self, "heard"))

    def _feed(self, script: str) -> None:
        mark = f"{self._secret};{self._number}"
        words = {"command": self._command, "terminal": self.terminal.path, "mark": mark, "begun": f"{mark};begun"}
        self.terminal.feed((script % words).encode("utf-8", "replace"))

    # ── The owner of its terminal ──

    def started(self) -> None:
        self._feed(_BEGIN + _DO)

    def refused(self, why: str) -> None:
        self.told(self)
        if self.look is not None:
            self.look.refused(why)

    def room(self) -> int:
        return CHUNK if self.ended else max(0, KEPT - len(self._output))

    def take(self, chunk: bytes) -> None:
        if self.ended:  # of what it left behind
            return
        chunk = self._begun + chunk
        while (start := chunk.find(self._mark)) >= 0 and (end := chunk.find(b"\007", start)) >= 0:
            self._output += chunk[:start]
            number, _, code = chunk[start + len(self._mark) : end].partition(b";")
            chunk = chunk[end + 1 :]
            if number == b"%d" % self._number and code == b"begun":
                self._begins = False
                if self._wanted:
                    self.interrupt()
            elif self.running and number == b"%d" % self._number and code.isdigit():
                self.code = int(code[:3]) & 255
                if self._heard == self._interrupts:
                    self._at_prompt()
                elif not self._awaited:
                    self._awaited = True
                    self._loop.at(HEARD, (self, "heard"), self._show_heard)
            elif number == b"i%d" % self._interrupts and self._heard < self._interrupts:
                self._heard = self._interrupts
                if self.running:
                    if not self._awaited:  # it has set another prompt
                        self.code = 128 + signal.SIGINT
                    self._at_prompt()
        whole = _unmarked(chunk, self._mark)
        self._output += chunk[:whole]
        self._begun = chunk[whole:]
        self._loop.soon(self.pump)

    def fed(self) -> None:
        pass

    def over(self) -> None:
        self._output += self._begun
        self._at_prompt()
        self.ended = True
        self.pump()


class Look(Call):
    """A call that looks at the shell until that is at its prompt again, or the time is over."""

    def __init__(
        self, calls: Calls, number: int, asked: dict[str, Any], shell: Shell, fresh: bool, outputs: Place
    ) -> None:
        super().__init__(calls, number)
        self._shell, self._fresh = shell, fresh
        self._since = time.monotonic()
        self._spill = Spill(outputs, number, asked["spill_after"])
        self._typed = asked["input"] is not None
        calls.loop.at(asked["timeout"], (self, "late"), self._late)

    def take(self, chunk: bytes) -> None:
        self._spill.add(chunk)
        self.send(chunk)
        if self._typed and not self.unwanted:
            self.calls.loop.at(SETTLED, (self, "settled"), self._late)

    def resume(self) -> None:
        self._shell.pump()

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        if lost:
            self._leave()
        else:  # who does not want the call any more wants what it does to end
            self.calls.loop.at(PATIENCE, (self, "late"), self._shell.end)
            self._break_off()
            self._shell.pump()

    def refused(self, why: str) -> None:
        self._leave()
        self.refuse(why)

    def done(self, state: str) -> None:
        self._leave()
        shell, terminal = self._shell, self._shell.terminal
        if state == "over":
            shell.told(shell)
        self.answer(
            {
                "state": state,
                "code": shell.code if state == "prompt" else None,
                "end": {**terminal.exit(), "timed_out": False, "spilled": None} if state == "over" else None,
                "running": shell.running,
                "cwd": terminal.cwd[:4096],
                "fresh": self._fresh,
                "seconds": time.monotonic() - self._since,
                "spilled": self._spill.close(),
            }
        )

    def _break_off(self) -> None:
        """Again and again: between two programs there is nobody whom it reaches."""
        self._shell.interrupt()
        self.calls.loop.at(AGAIN, (self, "settled"), self._break_off)

    def _late(self) -> None:
        self.done("running")

    def _leave(self) -> None:
        self._shell.look = None
        self._spill.close()
        self.calls.loop.forget((self, "late"))
        self.calls.loop.forget((self, "settled"))


class Shells:
    """Where the room's shell is found. There is one at a time, and it ends with the connection."""

    def __init__(self, calls: Calls, commands: Commands, folders: Folders) -> None:
        self._calls, self._commands, self._folders = calls, commands, folders
        self._shell: Shell | None = None

    @property
    def running(self) -> bool:
        return self._shell is not None and bool(self._shell.running)

    def answer(self, number: int, asked: dict[str, Any]) -> None:
        """Begin a call; the shell as well where there is none. Raises Refusal."""
        shell, command, typed = self._shell, asked["command"], asked["input"]
        if shell is not None and shell.look is not None:
            raise Refusal("another call is at the room's shell now: try again when it is done")
        if fresh := shell is None or (shell.ended and command is not None):
            if command is None:
                raise Refusal("there is no shell now: give it a command, and a new one starts")
            shell = Shell(self._commands, self._folders.place(asked["cwd"]), self._told)
        assert shell is not None
        if command is not None and shell.running:
            raise Refusal(f"the shell is not at its prompt, it still runs: {shell.running}")
        if typed is not None and not (shell.running or shell.ended):
            raise Refusal("the shell is at its prompt, and nothing runs that would read this: give it as a command")
        look = Look(self._calls, number, asked, shell, fresh, self._folders.outputs)
        self._calls.open[number] = look
        shell.look = look
        if command is not None:
            shell.do(command)
        if fresh:
            self._shell = shell
            self._commands.enter(shell.terminal)
        if typed is not None:
            shell.type(typed.encode("utf-8", "replace"))
        if asked["interrupt"]:
            shell.interrupt()
        if asked["end"] and not shell.ended:
            shell.end()
        shell.show()

    def close(self) -> None:
        if self._shell is not None:
            self._shell.end()
            self._shell = None

    def _told(self, shell: Shell) -> None:
        if self._shell is shell:
            self._shell = None


def _unmarked(chunk: bytes, mark: bytes) -> int:
    """How much of it can be given on: a mark that has only begun waits for its end."""
    start = chunk.rfind(b"\033", -len(mark) - 24)
    if start >= 0 and (mark.startswith(chunk[start:]) or chunk.startswith(mark, start)):
        return start
    return len(chunk)
