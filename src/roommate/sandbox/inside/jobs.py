"""Background jobs: commands that outlive the call, the turn and the daemon, and write to a file of the workspace."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH108, PTH118

from __future__ import annotations

import os

from roommate.sandbox.inside.calls import SHELL
from roommate.sandbox.inside.command import Command, Refusal, explain
from roommate.sandbox.inside.frames import CHUNK
from roommate.sandbox.inside.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.calls import Call
    from roommate.sandbox.inside.hand import Hand

LOG_CAP = 64 << 20
STOP_GRACE = 2.0
RUNNING = 64
REMEMBERED = 100


class Job:
    def __init__(self, hand: Hand, name: str, text: str, cwd: str, record: Record) -> None:
        self.name, self.record = name, record
        self.text = text if len(text) <= 500 else text[:499] + "…"
        self.waiting: list[Call] = []
        self.command = Command(hand, self, [SHELL, "-c", text], cwd, {}, stdin=False)

    @property
    def running(self) -> bool:
        return self.command.status is None

    def room(self) -> int:
        return CHUNK

    def take(self, chunk: bytes) -> None:
        self.record.write(chunk)

    def fed(self) -> None:
        pass

    def over(self) -> None:
        for call in self.waiting:
            call.answer(self.state())
        self.waiting.clear()

    def state(self) -> dict[str, Any]:
        ended = None if self.running else {**self.command.exit(), "timed_out": False, "spilled": None}
        return {"id": self.name, "command": self.text, "log": self.record.shown, "exit": ended}


class Jobs:
    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._jobs: dict[str, Job] = {}
        self._number = 0

    def answer(self, op: str, asked: dict[str, Any], call: Call) -> None:
        if op == "start_job":
            call.answer(self._start(asked["command"], self._hand.place(asked["cwd"])).state())
        elif op == "jobs":
            call.answer({"jobs": [job.state() for job in self._jobs.values()]})
        elif op == "job":
            call.answer(self._find(asked["id"]).state())
        elif op == "stop_job":
            job = self._find(asked["id"])
            running = job.running
            job.command.kill(STOP_GRACE)  # what it left behind goes as well
            if running:
                job.waiting.append(call)
            else:
                call.answer(job.state())
        else:
            raise Refusal(f"this hand cannot {op}")

    def _find(self, name: str) -> Job:
        if name not in self._jobs:
            raise Refusal(f"there is no background job {name!r}; there are: {', '.join(self._jobs) or 'none'}")
        return self._jobs[name]

    def _start(self, text: str, cwd: str) -> Job:
        if sum(job.running for job in self._jobs.values()) >= RUNNING:
            raise Refusal(f"{RUNNING} background jobs run already: stop one first")
        ended = [name for name, job in self._jobs.items() if not job.running]
        for name in ended[: max(0, len(self._jobs) - REMEMBERED + 1)]:
            self._jobs.pop(name).record.close()
        logs = {f"{name}.log" for name in self._jobs}
        while True:
            self._number += 1
            try:
                record = Record(self._hand.workspace, "jobs", f"{self._number}.log", LOG_CAP, turns=True, spare=logs)
                break
            except FileExistsError:  # of an earlier life of this container
                pass
            except OSError as error:
                raise Refusal(explain(error, ".roommate/jobs, where its output would go")) from None
        try:
            job = Job(self._hand, str(self._number), text, cwd, record)
        except Refusal:
            record.close()
            os.unlink(os.path.join(self._hand.workspace, record.shown))
            raise
        self._jobs[job.name] = job
        return job
