"""What a hand may answer, checked: nothing that comes out of a container is believed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from roommate.domain import DirEntry, Exit, Job, Located, Program, ShellLook

Count = Annotated[StrictInt, Field(ge=0, lt=1 << 63)]
Name = Annotated[str, StringConstraints(max_length=8192)]
"""A path may be longer than PATH_MAX where it is relative to a folder: of that name alone it is not."""
Kept = Annotated[
    str,
    StringConstraints(pattern=r"^(\.roommate/(output|jobs)|/home/room/\.roommate/jobs)/[A-Za-z0-9._-]{1,100}$"),
]


class Answer(BaseModel):
    """``error`` is what the caller did wrong, and then nothing else is there."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class CallRefused(Answer):
    error: Annotated[str, StringConstraints(max_length=2000)] | None = None


class Done(Answer):
    pass


class Size(Answer):
    size: Count


class Total(Answer):
    total: Count


class Found(Answer):
    folder: Name
    program: Name
    named_in: Name
    name: Name
    paths: Annotated[list[Name], Field(max_length=100)]

    def word(self) -> Located:
        return Located(self.folder, self.program, self.named_in, self.name, self.paths)


class Ended(Answer):
    code: Annotated[StrictInt, Field(ge=0, le=255)] | None
    signal: Annotated[StrictInt, Field(ge=1, le=64)] | None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    timed_out: StrictBool
    out_of_memory: StrictBool
    spilled: Kept | None

    @model_validator(mode="after")
    def _one_end(self) -> Ended:
        if (self.code is None) == (self.signal is None):
            raise ValueError("a process ends with a code or by a signal")
        return self

    def word(self) -> Exit:
        return Exit(
            code=self.code,
            signal=self.signal,
            timed_out=self.timed_out,
            seconds=self.seconds,
            spilled=self.spilled,
            out_of_memory=self.out_of_memory,
        )


class JobEnded(Ended):
    """A job may have ended when no hand was there to see how."""

    @model_validator(mode="after")
    def _one_end(self) -> JobEnded:
        if self.code is not None and self.signal is not None:
            raise ValueError("a process ends with a code or by a signal")
        return self


class Caller(Answer):
    command: Annotated[str, StringConstraints(max_length=2000)] = ""
    turn: Count | None = None

    def word(self) -> Program:
        return Program(self.command, self.turn)


class JobState(Answer):
    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
    command: Annotated[str, StringConstraints(max_length=500)]
    log: Kept
    exit: JobEnded | None

    def word(self) -> Job:
        return Job(self.id, self.command, self.log, self.exit.word() if self.exit else None)


class JobStates(Answer):
    jobs: Annotated[list[JobState], Field(max_length=1000)]
    shell: StrictBool = False
    """Something runs in the room's shell."""


class Looked(Answer):
    state: Literal["prompt", "running", "over"]
    code: Annotated[StrictInt, Field(ge=0, le=255)] | None
    end: Ended | None
    running: Annotated[str, StringConstraints(max_length=500)]
    cwd: Name
    fresh: StrictBool
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    spilled: Kept | None

    @model_validator(mode="after")
    def _one_state(self) -> Looked:
        if (self.state == "prompt") != (self.code is not None) or (self.state == "over") != (self.end is not None):
            raise ValueError("a shell is at its prompt with a code, runs, or is over with an end")
        return self

    def word(self) -> ShellLook:
        return ShellLook(
            code=self.code,
            end=self.end.word() if self.end else None,
            running=self.running,
            cwd=self.cwd,
            fresh=self.fresh,
            seconds=self.seconds,
            spilled=self.spilled,
        )


_Kind = Literal["file", "dir", "link", "other"]
ENTRIES: TypeAdapter[Iterable[tuple[Name, _Kind, Count]]] = TypeAdapter(
    Iterable[tuple[Name, _Kind, Count]], config=ConfigDict(defer_build=True)
)

A = TypeVar("A", bound=Answer)


def entries(text: bytes, limit: int) -> list[DirEntry]:
    """Raises ValueError. What is more than `limit` is not looked at: it would take long."""
    if not text.startswith(b"["):
        raise ValueError("a list is a list")
    found = [DirEntry(*entry) for entry in itertools.islice(ENTRIES.validate_json(text), limit + 1)]
    if len(found) > limit:
        raise ValueError("more entries than were asked for")
    return found
