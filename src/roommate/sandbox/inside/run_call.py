"""A call of the daemon, and the chief of them: run a command."""

from __future__ import annotations

import json
import os

from roommate.sandbox.inside.command import Command, Refusal, explain
from roommate.sandbox.inside.frames import CHUNK, COST, DATA, ERRORS, RESULT, WINDOW
from roommate.sandbox.inside.shortage import shortages
from roommate.sandbox.inside.spill import Spill
from roommate.sandbox.inside.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.hand import Hand

SHELL = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"

TERMINALS = 8
"""That a room may have at once."""


class Call:
    """One call of the daemon: what it may send, and whether anybody still wants it."""

    def __init__(self, hand: Hand, number: int) -> None:
        self.hand, self.number = hand, number
        self.credit = WINDOW
        self.owed = 0
        self.unwanted = False
        self.lost = False

    def begin(self) -> None:
        """Made, and known by its number: it may answer from now on."""

    def room(self) -> int:
        """How much output may go out now. Not a few bytes each time credit comes: those cost as much as many."""
        if self.unwanted:
            return CHUNK
        room = min(CHUNK, self.credit - COST)
        return 0 if self.hand.stream.choked or room < 4096 else room

    def send(self, chunk: bytes, kind: int = DATA) -> None:
        if not self.unwanted:
            self.credit -= len(chunk) + COST
            self.hand.stream.send(kind, self.number, chunk)

    def answer(self, result: dict[str, Any]) -> None:
        if not self.lost:  # else the number may be a new connection's by now
            self.hand.calls.pop(self.number, None)
            text = json.dumps(result, ensure_ascii=False)
            self.hand.stream.send(RESULT, self.number, text.encode("utf-8", "replace"))
            self.lost = self.unwanted = True

    def refuse(self, why: str) -> None:
        self.answer({"error": why[:2000]})

    def data(self, chunk: bytearray) -> None:
        """Input came."""
        self.owed += len(chunk) + COST

    def fed(self) -> None:
        """Input is used up."""
        if self.owed and not self.lost:
            self.hand.stream.credit(self.number, self.owed)
        self.owed = 0

    def end(self) -> None:
        """The input is whole."""

    def resume(self) -> None:
        """There may be room again."""

    def stop(self, lost: bool) -> None:
        """Nobody wants this any more; `lost`: nor its answer."""
        self.unwanted = True
        self.lost = self.lost or lost


class Outflow(Call):
    """A call that sends what it has as fast as there is room, in turn with the others."""

    def __init__(self, hand: Hand, number: int) -> None:
        super().__init__(hand, number)
        self.waiting = True

    def piece(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        raise NotImplementedError

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def resume(self) -> None:
        if self.waiting and self.room():
            self.waiting = False
            self.hand.loop.soon(self.go_on)

    def go_on(self) -> None:
        self.waiting = True
        if self.unwanted:
            self.answer({})
        elif room := self.room():
            try:
                chunk = self.piece(room)
            except OSError as error:
                self.refuse(explain(error, "read"))
                return
            if chunk:
                self.send(chunk)
                self.resume()
            else:
                self.answer(self.whole())

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self.resume()


class Run(Call):
    """A command, with its output streamed, and kept in a file of the workspace when it is long."""

    def __init__(self, hand: Hand, number: int, asked: dict[str, Any]) -> None:
        super().__init__(hand, number)
        self.spill = Spill(hand.outputs, number, asked.get("spill_after"))
        self.timed_out = False
        self.longest: float | None = asked["timeout"]
        command = asked["command"]
        argv = [SHELL, "-c", command] if isinstance(command, str) else command
        cwd, env, size = hand.place(asked["cwd"]), asked["env"], asked.get("terminal")
        if size and _terminals(hand) >= TERMINALS:
            hand.reap()  # one that has ended counts no more
            if _terminals(hand) >= TERMINALS:
                raise Refusal(f"{TERMINALS} terminals are open in this room already: leave one first")
        self.command = (
            Terminal(hand, self, argv, cwd, env, rows=size[0], columns=size[1])
            if size
            else Command(
                hand,
                self,
                argv,
                cwd,
                env,
                stdin=asked["stdin"],
                alone=asked.get("alone", False),
                errors=self.take_errors if asked.get("apart") else None,
            )
        )

    def begin(self) -> None:
        if self.longest is not None:
            self.hand.loop.at(self.longest, (self, "timeout"), self.timeout)
        self.hand.queue.enter(self.command)

    def started(self) -> None:
        pass

    def refused(self, why: str) -> None:
        self.hand.loop.forget((self, "timeout"))
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

    def timeout(self) -> None:
        self.timed_out = True
        self.command.kill(f"it waited {self.longest:g} s for its turn: too many commands run in this room at once")

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self.command.kill("nobody wants it any more")
        self.command.listen()

    def over(self) -> None:
        self.hand.loop.forget((self, "timeout"))
        ended = self.command.exit()
        if ended["code"] != 0:
            for line in shortages(ended["out_of_memory"], self.hand.workspace):
                note = f"[{line}]\n".encode()
                if len(note) <= self.room():
                    self.take(note)
        self.answer({**ended, "timed_out": self.timed_out, "spilled": self.spill.close()})


def _terminals(hand: Hand) -> int:
    return sum(isinstance(command, Terminal) for command in hand.commands.values())
