"""What is known of each background job, in files, by which a hand that comes after us finds it again."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH104, PTH108, PTH118, PTH123, PTH208, SIM105

from __future__ import annotations

import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.output_files import Place

LONGEST = 1 << 14
"""Bytes of a note."""
DIGITS = 8


class Note:
    """`leader`, its `start` time and its `mark` are as in `family`; `begun` is Unix time; `exit` is None until then."""

    def __init__(
        self, text: str, leader: int, start: int, mark: str, begun: float, exit: dict[str, Any] | None
    ) -> None:
        self.text, self.leader, self.start, self.mark, self.begun, self.exit = text, leader, start, mark, begun, exit


class Notes:
    """By the jobs' names. They can be written by whatever runs in the room: what is no note is none."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def write(self, name: str, note: Note) -> None:
        """On a full disk there is none."""
        path = self._path(f"{name}.json")
        try:
            self._place.make()
            fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(json.dumps(vars(note)).encode())
            os.rename(f"{path}.new", path)
        except OSError:
            pass

    def all(self, most: int) -> list[tuple[str, Note]]:
        """Those of the `most` newest jobs, the oldest first."""
        try:
            names = [name[:-5] for name in os.listdir(self._place.folder) if name.endswith(".json")]
        except OSError:
            return []
        numbers = sorted({int(name) for name in names if name.isdecimal() and len(name) <= DIGITS})
        notes = ((str(number), self._read(f"{number}.json")) for number in numbers[-most:])
        return [(name, note) for name, note in notes if note]

    def forget(self, name: str) -> None:
        for kind in ("json", "pipe"):
            try:
                os.unlink(self._path(f"{name}.{kind}"))
            except OSError:
                pass

    def pipe(self, name: str) -> tuple[int, int]:
        """Both ends of a pipe for the output of a job. Who has the other end can read from it as well, so that it goes
        on when we are killed, and waits for us while it is full: see fifo(7)."""
        try:
            self.forget(name)
            self._place.make()
            os.mkfifo(self._path(f"{name}.pipe"), 0o600)
            output = self.reopen(name)
        except OSError:  # the disk is full, most likely
            return os.pipe()
        try:
            return output, os.open(f"/proc/self/fd/{output}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(output)
            raise

    def reopen(self, name: str) -> int:
        """The end of its pipe from which output is read. Raises OSError."""
        fd = os.open(self._path(f"{name}.pipe"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise FileNotFoundError(f"{name}.pipe is no pipe")

    def _path(self, name: str) -> str:
        return os.path.join(self._place.folder, name)

    def _read(self, name: str) -> Note | None:
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                note = Note(**json.loads(file.read(LONGEST)))
            numbers = (note.leader, note.start, note.begun)
            if all(isinstance(number, (int, float)) for number in numbers) and note.leader > 1 and _how(note.exit):
                note.text, note.mark = str(note.text)[:500], str(note.mark)
                return note
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            pass
        return None


def _how(exit: Any) -> bool:
    """Is this how a process ended, or that none did?"""
    if exit is None:
        return True
    code, number = exit["code"], exit["signal"]
    ended = code is None or (type(code) is int and 0 <= code <= 255)
    ended = ended and (number is None or (type(number) is int and 1 <= number <= 64))
    return ended and None in (code, number) and type(exit["seconds"]) is float and type(exit["out_of_memory"]) is bool
