"""`roommate logs`: the log file, its end, and what comes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from roommate.cli.background_daemon import LOG
from roommate.cli.daemon_requests import ask
from roommate.errors import NotRunning, StateError
from roommate.host import daemon_location

STEP_MS, TOGETHER_MS = 50, 200
"""Who follows sees a line so late, and what comes without a pause so late."""
LOOK_MS = 1000
"""What came just before the watch stood is seen then."""


def show(room: str, most: int, *, follow: bool) -> None:
    """Raises StateError where there is no log file, ControlError where the daemon knows no such room."""
    file = daemon_location.state_dir() / LOG
    if not file.exists():
        raise StateError(f"there is no {file}: no daemon has run here, or LOG_FILE_MB is 0")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        about = _About(_id(room))
        before = file.with_name(f"{file.name}.1")
        older = before.read_text(errors="replace").splitlines(keepends=True) if before.exists() else []
        lines = _lines(file, follow=follow)
        end = deque((line for line in older if about(line)), maxlen=most)
        for line in lines:
            if line is None:  # the end of what is there
                break
            if about(line):
                end.append(line)
        sys.stdout.writelines(end)
        sys.stdout.flush()
        for line in lines:
            if line is not None and about(line):
                sys.stdout.write(line)
                sys.stdout.flush()


def _id(room: str) -> str:
    """The id of a room, which the daemon knows by its name, too; without one, or for an id, what was said."""
    if not room or room.startswith("!"):
        return room
    try:
        return str(ask("rooms.show", room=room)["line"]["room_id"])
    except NotRunning:
        return room


class _About:
    """Tells lines that are about a room; the lines of a trace are about what the line before them is."""

    def __init__(self, room: str) -> None:
        self._room = room
        self._shown = False

    def __call__(self, line: str) -> bool:
        if line[:1].isdigit() or line[:1] == "{":
            self._shown = self._room in line
        return self._shown


def _lines(file: Path, *, follow: bool) -> Iterator[str | None]:
    """Every line; a None when there are no more, and with `follow` on from there, also when the file is rotated."""
    changes = _changes(file.parent)
    while True:
        with file.open(errors="replace") as log:
            part = ""
            while True:
                part += log.readline()
                if part.endswith("\n"):
                    yield part
                    part = ""
                    continue
                yield None
                if not follow:
                    return
                next(changes)
                with contextlib.suppress(FileNotFoundError):
                    if not os.path.samestat(file.stat(), os.fstat(log.fileno())):
                        break


def _changes(folder: Path) -> Iterator[object]:
    """One whenever something was written there, and now and then. Raises StateError where nobody can look."""
    from watchfiles import watch  # it takes longer to load than all that `logs` does without it

    look = partial(
        watch,
        folder,
        watch_filter=None,
        step=STEP_MS,
        debounce=TOGETHER_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        try:
            yield from look()
        except RuntimeError:  # the host has no watch left
            yield from look(force_polling=True)
    except (OSError, RuntimeError) as error:
        raise StateError(f"{folder} cannot be followed: {error}") from error
