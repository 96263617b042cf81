"""The daemons of an install folder as processes: found, told to restart, ended, started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from roommate.updates.releases import Install, Release

RESTART = signal.SIGUSR2
"""Has a daemon close and execute itself again; one that does not know it yet just ends."""


def daemons(release: Release) -> Iterator[int]:
    """Process ids of the daemons that run from this release."""
    inside = f"{release.path}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        # Its interpreter is named by the release's own path, whichever link it was started through.
        if b"run" in words and any(word.startswith(inside) for word in words[:2]):
            yield int(process.name)


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
    """Have this release carry the open update out, in a process that survives us."""
    _detached([release.program, "update", "--resume", "--root", install.root], install.root, log)


def _detached(command: list[str | Path], folder: Path, log: Path) -> None:
    with log.open("ab") as out:
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
