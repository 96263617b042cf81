"""Background jobs: commands that outlive the call, the turn, the daemon and the hand, and write to a file."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH108, PTH118, SIM105

from __future__ import annotations

import os
import time

from roommate.sandbox.inside.command import SHELL, Command, Refusal, explain
from roommate.sandbox.inside.frames import CHUNK
from roommate.sandbox.inside.job_notes import Note, Notes
from roommate.sandbox.inside.output_files import Record
from roommate.sandbox.inside.process_family import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.call import Call
    from roommate.sandbox.inside.command_queue import Commands
    from roommate.sandbox.inside.path_resolution import Folders

LOG_CAP = 64 << 20
STOP_GRACE = 2.0
RUNNING = 64
REMEMBERED = 100


class Job:
    """`asker` waits for its start, `stoppers` for its end."""

    def __init__(self, jobs: Jobs, name: str, text: str, record: Record, asker: Call | None = None) -> None:
        self.name, self.record = name, record
        self.text = text if len(text) <= 500 else text[:499] + "…"
        self.exit: dict[str, Any] | None = None
        self.stoppers: list[Call] = []
        self.command: Command | None = None
        self._jobs, self._asker = jobs, asker
        self._start, self._begun = 0, time.time()

    def room(self) -> int:
        return CHUNK

    def take(self, chunk: bytes) -> None:
        self.record.write(chunk)

    def fed(self) -> None:
        pass

    def go_on(self, note: Note, command: Command, output: int | None) -> None:
        """It was started by an earlier hand."""
        self.exit, self._start, self._begun = note.exit, note.start, note.begun
        self.command = command
        command.found(note.leader, note.start, note.mark, output)

    def started(self) -> None:
        assert self.command
        entry = process(self.command.family.leader)
        self._start = entry[3] if entry else 0
        self._note()
        if self._asker:
            self._asker.answer(self.state())

    def refused(self, why: str) -> None:
        self._jobs.forget(self)
        for call in (self._asker, *self.stoppers):
            if call:
                call.refuse(why)

    def over(self) -> None:
        assert self.command
        if self.exit is None:
            self.exit = {**self.command.exit(), "seconds": max(0.0, time.time() - self._begun)}
            self._note()
        for call in self.stoppers:
            call.answer(self.state())
        self.stoppers.clear()

    def state(self) -> dict[str, Any]:
        exit = self.exit
        if exit is None and self.command and self.command.status is not None:
            exit = self.command.exit()  # others hold its output open still
        ended = exit and {**exit, "timed_out": False, "spilled": None}
        return {"id": self.name, "command": self.text, "log": self.record.shown, "exit": ended}

    def _note(self) -> None:
        assert self.command
        family = self.command.family
        note = Note(self.text, family.leader, self._start, family.mark, self._begun, self.exit)
        self._jobs.notes.write(self.name, note)


class Jobs:
    """What is noted of each lets a hand that comes after us find it again."""

    def __init__(self, commands: Commands, folders: Folders) -> None:
        self._commands, self._folders = commands, folders
        self._jobs: dict[str, Job] = {}
        self._number = 0
        self.notes = Notes(folders.job_notes)

    def answer(self, op: str, asked: dict[str, Any], call: Call) -> None:
        if op == "start_job":
            self._start(asked["command"], self._folders.place(asked["cwd"]), call)
        elif op == "job":
            call.answer(self._find(asked["id"]).state())
        elif op == "stop_job":
            job = self._find(asked["id"])
            if job.exit is None:
                job.stoppers.append(call)
            else:
                call.answer(job.state())
            if job.command:
                job.command.kill("it was stopped before it began", STOP_GRACE)  # what it left behind goes as well
        else:
            raise Refusal(f"this hand cannot {op}")

    def states(self) -> list[dict[str, Any]]:
        return [job.state() for job in self._jobs.values()]

    def find_again(self) -> None:
        """Those of an earlier hand, which was killed; where the container was started again they have ended."""
        for name, note in self.notes.all(REMEMBERED):
            self._number = int(name)
            try:
                record = Record(self._folders.job_logs, f"{name}.log", LOG_CAP, turns=True, again=True)
            except OSError:
                continue
            output = None
            try:
                output = self.notes.reopen(name)
            except OSError:  # there was no room for a pipe
                pass
            job = self._jobs[name] = Job(self, name, note.text, record)
            job.go_on(note, Command(self._commands, job, [SHELL], "/", {}, counted=False), output)

    def forget(self, job: Job) -> None:
        self._jobs.pop(job.name, None)
        job.record.close()
        self.notes.forget(job.name)
        try:
            os.unlink(os.path.join(self._folders.job_logs.folder, f"{job.name}.log"))
        except OSError:
            pass

    def _find(self, name: str) -> Job:
        if name not in self._jobs:
            raise Refusal(f"there is no background job {name!r}; there are: {', '.join(self._jobs) or 'none'}")
        return self._jobs[name]

    def _start(self, text: str, cwd: str, call: Call) -> None:
        if sum(job.exit is None for job in self._jobs.values()) >= RUNNING:
            raise Refusal(f"{RUNNING} background jobs run already: stop one first")
        ended = [job for job in self._jobs.values() if job.exit is not None]
        for job in ended[: max(0, len(self._jobs) - REMEMBERED + 1)]:
            self.forget(job)
        logs = {f"{name}.log" for name in self._jobs}
        while True:
            self._number += 1
            name = str(self._number)
            try:
                record = Record(self._folders.job_logs, f"{name}.log", LOG_CAP, turns=True, spare=logs)
                break
            except FileExistsError:  # nothing was noted of it
                pass
            except OSError as error:
                raise Refusal(explain(error, f"{self._folders.job_logs.shown}, where its output would go")) from None
        job = self._jobs[name] = Job(self, name, text, record, call)
        argv = [SHELL, "-c", text]
        job.command = Command(self._commands, job, argv, cwd, {}, pipe=lambda: self.notes.pipe(name), counted=False)
        self._commands.enter(job.command)
