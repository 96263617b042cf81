"""What runs and lies in a sandbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: ``code`` 0-255, or None with ``signal`` when a signal ended it; of a background process both
    may be None: nobody saw it. ``seconds`` is wall time."""

    code: int | None
    signal: int | None
    timed_out: bool
    seconds: float
    spilled: str | None = None
    """Path in the workspace that holds the whole output, when it was longer than the call keeps."""
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A part of a file: ``size`` is the whole file's, in bytes; ``content`` starts at the asked offset."""

    content: bytes
    size: int


@dataclass(frozen=True, slots=True)
class DirEntry:
    """``kind`` is ``file``, ``dir``, ``link`` or ``other``; ``size`` in bytes."""

    path: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Job:
    """A background process of the room; ``exit`` is None while it runs. ``log`` is its output's path."""

    id: str
    command: str
    log: str
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class ShellLook:
    """How a room's shell was when a call had looked at it: at its prompt with the exit ``code`` of the command before,
    or at its ``end``; else it still runs the command that begins with ``running``."""

    code: int | None
    end: Exit | None
    running: str
    cwd: str
    """The folder it is in; "" where that is not known."""
    fresh: bool
    """It began with this call: of a shell before it nothing is left."""
    seconds: float
    """That the call looked."""
    spilled: str | None
    """As in `Exit`."""


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What became of a task that a coding agent was given."""

    agent: str
    ok: bool
    text: str
    """What it said in the end, or what went wrong."""
    how: str
    """For people, in a few words: ``3 calls · 12 s``."""
    transcript: str = ""
    """Path in the workspace of all that it said and did."""
