"""The hand: the one program that a room's container runs for the daemon, to do what tool calls ask of it."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH118

from __future__ import annotations

import json
import os
import signal
import sys

from roommate.sandbox.inside.cgroup import OomKills
from roommate.sandbox.inside.command import IGNORED, UNATTENDED, Command, Refusal, explain
from roommate.sandbox.inside.command_queue import Queue
from roommate.sandbox.inside.daemon_connection import Stream
from roommate.sandbox.inside.event_loop import Loop
from roommate.sandbox.inside.files import List, Read, Write
from roommate.sandbox.inside.frames import (
    CALL,
    CREDIT,
    DATA,
    END,
    HELLO,
    KILL,
    LISTEN,
    VERSION,
    credited,
    frame,
    port_of,
)
from roommate.sandbox.inside.jobs import Jobs
from roommate.sandbox.inside.kill_tree import Kills
from roommate.sandbox.inside.output_files import Place
from roommate.sandbox.inside.run_call import Call, Run
from roommate.sandbox.inside.shell import Shells
from roommate.sandbox.inside.tunnels import Tunnel, Tunnels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORKSPACE, HOME = "/workspace", "/home/room"


class Hand:
    """All that runs for one room: the calls and tunnels of the present connection, and the jobs, which outlive it."""

    def __init__(self, path: str, workspace: str, home: str) -> None:
        self.workspace, self.home = workspace, home
        self.outputs = Place(workspace, "output")
        self.job_logs, self.job_notes = Place(home, "jobs", HOME), Place(home, "job-notes", HOME)
        self.calls: dict[int, Call] = {}
        self.commands: dict[int, Command] = {}
        """Those that run, by their process."""
        self.counted = 0
        self.oom_kills = OomKills()
        self.loop = Loop(self.reap)
        self.stream = Stream(
            self.loop,
            path,
            hello=frame(HELLO, 0, json.dumps({"version": VERSION}).encode()),
            take=self._take,
            lost=self._lost,
            eased=self._eased,
        )
        self.kills = Kills(self)
        self.queue = Queue(self)
        self.jobs = Jobs(self)
        self.tunnels = Tunnels(self)
        self.shells = Shells(self)
        self._prefix = os.urandom(4).hex()
        self._count = 0
        self.jobs.find_again()

    def serve(self) -> None:
        self.stream.dial()
        while True:
            try:
                self.stream.flush()
                self.loop.turn()
            except Exception:  # what it breaks ends with the connection; the jobs, and we, go on
                sys.excepthook(*sys.exc_info())
                self.stream.drop()

    def place(self, path: str) -> str:
        """Where a path of a call is: from the workspace on, wherever that and the home are mounted."""
        for shown, place in ((WORKSPACE, self.workspace), (HOME, self.home)):
            if path == shown or path.startswith(shown + "/"):
                return os.path.join(place, path[len(shown) + 1 :])
        return os.path.join(self.workspace, path)

    def unique(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    def _take(self, kind: int, number: int, payload: bytearray) -> None:
        if kind == CALL:
            self._start(number, json.loads(payload))
        elif kind == LISTEN:
            self.tunnels.listen(port_of(payload))
        elif call := self.calls.get(number):  # else it ended while this was on its way
            if kind == DATA:
                call.data(payload)
            elif kind == END:
                call.end()
            elif kind == KILL:
                call.stop(lost=False)
            elif kind == CREDIT:
                call.credit += credited(payload)
                call.resume()

    def _start(self, number: int, asked: dict[str, Any]) -> None:
        op = asked["op"]
        what = str(asked.get("path", op))
        try:
            if op in ("run", "read", "write", "list"):
                kind = {"run": Run, "read": Read, "write": Write, "list": List}[op]
                call = self.calls[number] = kind(self, number, asked)
                call.begin()
            elif op == "shell":
                self.shells.answer(number, asked)
            elif op in ("resize", "signal"):
                if isinstance(target := self.calls.get(asked["call"]), Run):  # else it has ended meanwhile
                    target.resize(*asked["size"]) if op == "resize" else target.signal(asked["signal"])
                Call(self, number).answer({})
            elif op == "caller":
                tunnel = self.calls.get(asked["tunnel"])
                Call(self, number).answer({"command": tunnel.caller() if isinstance(tunnel, Tunnel) else ""})
            else:
                call = self.calls[number] = Call(self, number)
                self.jobs.answer(op, asked, call)
        except Refusal as error:
            Call(self, number).refuse(str(error))
        except OSError as error:
            Call(self, number).refuse(explain(error, what))
        except ValueError as error:  # a NUL byte or a lone surrogate in a path
            Call(self, number).refuse(f"{what[:200]!a}: {error}")

    def _lost(self) -> None:
        self.tunnels.close()
        calls = list(self.calls.values())
        self.calls.clear()
        for call in calls:
            call.stop(lost=True)
        self.shells.close()

    def _eased(self) -> None:
        for call in list(self.calls.values()):
            call.resume()

    def reap(self) -> bool:
        """Whether a child had ended."""
        ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                break
            ended = True
            if command := self.commands.pop(pid, None):
                command.reaped(status)
        if ended:
            self.queue.go()
        return ended


def main(path: str, workspace: str = WORKSPACE, home: str = HOME) -> None:
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
    Hand(path, os.path.realpath(workspace), os.path.realpath(home)).serve()
