"""The daemons of an install folder as processes: found, told to restart, ended, started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from roommate.errors import UpdateError
from roommate.updates.releases import Install, Release

RESTART = signal.SIGUSR2
"""Has a daemon close and execute itself again; one that does not know it yet just ends."""


def daemons(release: Release) -> Iterator[int]:
    """Process ids of the daemons that run from this release, as the user to whom it belongs: others may call
    themselves what they like."""
    inside, owner = f"{release.path}/".encode(), release.path.parent.stat().st_uid
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != owner:
                continue
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        # Its interpreter is named by the release's own path, whichever link it was started through.
        if b"run" in words and any(word.startswith(inside) for word in words[:2]):
            yield int(process.name)


class Watch:
    """Whether a daemon lives. One that was seen once is known by its process: while it becomes another program, it has
    no name for a moment."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def any_of(self, *releases: Release) -> bool:
        """Does a daemon of these releases live?"""
        if not self._lives():
            for process in (process for release in releases for process in daemons(release)):
                with contextlib.suppress(ProcessLookupError):
                    self._seen[process] = os.pidfd_open(process)
        return self._lives()

    def _lives(self) -> bool:
        ended, _, _ = select.select(list(self._seen.values()), [], [], 0)
        for process, descriptor in list(self._seen.items()):
            if descriptor in ended:
                os.close(self._seen.pop(process))
        return bool(self._seen)


def supervised(release: Release) -> bool:
    """Did systemd start a daemon of this release, so that it will start it again?"""
    for process in daemons(release):
        try:
            if b"NOTIFY_SOCKET=" in (Path("/proc") / str(process) / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


def send(release: Release, number: signal.Signals) -> None:
    """Send a signal to the release's daemons."""
    for process in daemons(release):
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            continue
        try:
            if process in daemons(release):  # still, now that it cannot become another
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def start(install: Install, log: Path) -> None:
    """Start the daemon that `current` names, in a session of its own."""
    program = install.root / "current" / ".venv" / "bin" / "roommate"
    _detached([program, "run"], install.root, log)


def start_updater(install: Install, release: Release, log: Path) -> None:
    """Have this release carry the open update out, in a process that survives us, and the Python of ours.

    Raises UpdateError.
    """
    command: list[str | Path] = [release.program, "update", "--resume", "--root", install.root]
    if (mend := release.path / "scripts" / "mend.sh").exists():
        command = ["sh", mend, release.path, *command]
    _detached(command, install.root, log)


def _detached(command: list[str | Path], folder: Path, log: Path) -> None:
    try:
        with log.open("ab") as out:
            subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
    except OSError as error:
        raise UpdateError(f"{command[0]} cannot be started: {error.strerror}") from error
