"""The chief of the calls: run a command."""

from __future__ import annotations

from roommate.sandbox.inside.call import Call
from roommate.sandbox.inside.command import SHELL, Command, Refusal
from roommate.sandbox.inside.frames import ERRORS
from roommate.sandbox.inside.shortage import shortages
from roommate.sandbox.inside.spill import Spill
from roommate.sandbox.inside.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.call import Calls
    from roommate.sandbox.inside.command_queue import Commands
    from roommate.sandbox.inside.path_resolution import Folders

TERMINALS = 8
"""That a room may have at once."""


class Run(Call):
    """A command, with its output streamed, and kept in a file of the workspace when it is long."""

    def __init__(self, calls: Calls, number: int, asked: dict[str, Any], commands: Commands, folders: Folders) -> None:
        super().__init__(calls, number)
        self.spill = Spill(folders.outputs, number, asked.get("spill_after"))
        self.timed_out = False
        self.longest: float | None = asked["timeout"]
        command = asked["command"]
        argv = [SHELL, "-c", command] if isinstance(command, str) else command
        program = ""
        if called := asked.get("called"):
            program, argv = argv[0], [called, *argv[1:]]
        cwd, env, size = folders.place(asked["cwd"]), asked["env"], asked.get("terminal")
        if size and _terminals(commands) >= TERMINALS:
            commands.reap()  # one that has ended counts no more
            if _terminals(commands) >= TERMINALS:
                raise Refusal(f"{TERMINALS} terminals are open in this room already: leave one first")
        self.command = (
            Terminal(commands, self, argv, cwd, env, rows=size[0], columns=size[1], program=program)
            if size
            else Command(
                commands,
                self,
                argv,
                cwd,
                env,
                stdin=asked["stdin"],
                alone=asked.get("alone", False),
                errors=self.take_errors if asked.get("apart") else None,
                program=program,
            )
        )
        self._commands, self._workspace = commands, folders.workspace

    def begin(self) -> None:
        if self.longest is not None:
            self.calls.loop.at(self.longest, (self, "timeout"), self.timeout)
        self._commands.enter(self.command)

    def started(self) -> None:
        pass

    def refused(self, why: str) -> None:
        self.calls.loop.forget((self, "timeout"))
        self.refuse(why)

    def take(self, chunk: bytes) -> None:
        self.spill.add(chunk)
        self.send(chunk)

    def take_errors(self, chunk: bytes) -> None:
        self.spill.add(chunk)
        self.send(chunk, ERRORS)

    def data(self, chunk: bytearray) -> None:
        super().data(chunk)
        self.command.feed(chunk)

    def end(self) -> None:
        self.command.feed_end()

    def resume(self) -> None:
        self.command.listen()

    def resize(self, rows: int, columns: int) -> None:
        if isinstance(self.command, Terminal):
            self.command.resize(rows, columns)

    def signal(self, number: int) -> None:
        """To its process group; in a terminal to the one in the foreground."""
        self.command.signal(number)

    def due(self, seconds: float | None) -> None:
        """It has so many seconds from now on, None: as many as it takes."""
        self.calls.loop.forget((self, "timeout"))
        if seconds is not None and not self.timed_out:
            self.calls.loop.at(seconds, (self, "timeout"), self.timeout)

    def timeout(self) -> None:
        self.timed_out = True
        self.command.kill(f"it waited {self.longest:g} s for its turn: too many commands run in this room at once")

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self.command.kill("nobody wants it any more")
        self.command.listen()

    def over(self) -> None:
        self.calls.loop.forget((self, "timeout"))
        ended = self.command.exit()
        if ended["code"] != 0:
            for line in shortages(ended["out_of_memory"], self._workspace):
                note = f"[{line}]\n".encode()
                if len(note) <= self.room():
                    self.take(note)
        self.answer({**ended, "timed_out": self.timed_out, "spilled": self.spill.close()})


def _terminals(commands: Commands) -> int:
    return sum(isinstance(command, Terminal) for command in commands.running.values())
