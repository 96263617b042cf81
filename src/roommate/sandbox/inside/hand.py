"""The hand: the one program that a room's container runs for the daemon, to do what tool calls ask of it."""

from __future__ import annotations

import json
import os
import signal
import sys

from roommate.sandbox.inside.call import Call, Calls
from roommate.sandbox.inside.command import IGNORED, UNATTENDED, Refusal, explain
from roommate.sandbox.inside.command_queue import Commands
from roommate.sandbox.inside.daemon_connection import Stream
from roommate.sandbox.inside.event_loop import Loop
from roommate.sandbox.inside.files import List, Read, Write
from roommate.sandbox.inside.frames import CALL, HELLO, LISTEN, VERSION, frame, port_of
from roommate.sandbox.inside.jobs import Jobs
from roommate.sandbox.inside.locate import locate
from roommate.sandbox.inside.path_resolution import HOME, WORKSPACE, Folders
from roommate.sandbox.inside.run_command_call import Run
from roommate.sandbox.inside.shell import Shells
from roommate.sandbox.inside.tunnels import Tunnel, Tunnels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_CALLS = {"read": Read, "write": Write, "list": List}


class Hand:
    """All that runs for one room: the calls and tunnels of the present connection, and the jobs, which outlive it; or
    all that runs for one `given` connection, with which it ends."""

    def __init__(self, path: str, workspace: str, home: str, given: int | None = None) -> None:
        loop = Loop()
        self._loop, self._folders, self._commands = loop, Folders(workspace, home), Commands(loop)
        self._stream = Stream(
            loop,
            path,
            given,
            hello=frame(HELLO, 0, json.dumps({"version": VERSION}).encode()),
            take=self._take,
            lost=self._lost,
            eased=lambda: self._calls.resume(),
        )
        self._calls = Calls(loop, self._stream)
        self._jobs = Jobs(self._commands, self._folders)
        self._tunnels = Tunnels(self._calls)
        self._shells = Shells(self._calls, self._commands, self._folders)
        if given is None:  # else there was none before us
            self._jobs.find_again()

    def serve(self) -> None:
        self._stream.dial()
        while True:
            try:
                self._stream.flush()
                self._loop.turn()
            except Exception:  # what it breaks ends with the connection; the jobs, and we, go on
                sys.excepthook(*sys.exc_info())
                self._stream.drop()

    def _take(self, kind: int, number: int, payload: bytearray) -> None:
        if kind == CALL:
            self._start(number, json.loads(payload))
        elif kind == LISTEN:
            self._tunnels.listen(port_of(payload))
        else:
            self._calls.took(kind, number, payload)

    def _start(self, number: int, asked: dict[str, Any]) -> None:
        op = asked["op"]
        what = str(asked.get("path", op))
        call = Call(self._calls, number)
        try:
            if op == "run":
                self._begin(Run(self._calls, number, asked, self._commands, self._folders))
            elif op in FILE_CALLS:
                self._begin(FILE_CALLS[op](self._calls, number, asked, self._folders))
            elif op == "locate":
                call.answer(locate(asked, self._folders))
            elif op == "shell":
                self._shells.answer(number, asked)
            elif op in ("resize", "signal"):
                if isinstance(target := self._calls.open.get(asked["call"]), Run):  # else it has ended meanwhile
                    target.resize(*asked["size"]) if op == "resize" else target.signal(asked["signal"])
                call.answer({})
            elif op == "due":
                if isinstance(target := self._calls.open.get(asked["call"]), Run):
                    target.due(asked["seconds"])
                call.answer({})
            elif op == "caller":
                tunnel = self._calls.open.get(asked["tunnel"])
                call.answer(tunnel.caller() if isinstance(tunnel, Tunnel) else {})
            elif op == "jobs":
                call.answer({"jobs": self._jobs.states(), "shell": self._shells.running})
            else:
                self._calls.open[number] = call
                self._jobs.answer(op, asked, call)
        except Refusal as error:
            call.refuse(str(error))
        except OSError as error:
            call.refuse(explain(error, what))
        except ValueError as error:  # a NUL byte or a lone surrogate in a path
            call.refuse(f"{what[:200]!a}: {error}")

    def _begin(self, call: Call) -> None:
        self._calls.open[call.number] = call
        call.begin()

    def _lost(self) -> None:
        self._tunnels.close()
        self._calls.lose()
        self._shells.close()


def main(path: str, workspace: str = WORKSPACE, home: str = HOME) -> None:
    """`path` is the socket where the daemon listens, or ``fd:N``: a connection to it that we were given."""
    for fd in range(3):  # who started us may have closed them, and then a pipe would get their number
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)
    for number in signal.valid_signals():  # what our starter ignores, commands would ignore
        if number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for name, value in UNATTENDED.items():
        os.environ.setdefault(name, value)
    os.environ["TERM"] = "dumb"  # Podman itself sets another
    given = int(path[3:]) if path.startswith("fd:") else None
    Hand(path, os.path.realpath(workspace), os.path.realpath(home), given).serve()
