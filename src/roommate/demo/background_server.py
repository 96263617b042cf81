"""A server of ours as a process in the background: its log and its process id in a folder, its end under control."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from roommate.errors import StateError
from roommate.host.die_with_parent import tied


class Background:
    """One process named `name`, whose ``NAME.log`` and ``NAME.pid`` are in `folder`.

    It dies with us, even when we are killed, unless it is `detached`; then the next one who looks into the folder finds
    it running.
    """

    def __init__(self, folder: Path, name: str, *, detached: bool = False) -> None:
        self.log = folder / f"{name}.log"
        self._name = name
        self._pid_file = folder / f"{name}.pid"
        self._detached = detached
        self._child: asyncio.subprocess.Process | None = None
        self._log_starts = 0

    @property
    def pid(self) -> int | None:
        """The process, ours or one that an earlier detached start left running; None when none runs."""
        if self._child is not None:
            return self._child.pid if self._child.returncode is None else None
        try:
            pid, born = self._pid_file.read_text().split()
            return int(pid) if _born(int(pid)) == born else None
        except (OSError, ValueError):
            return None

    def runs(self) -> bool:
        return self.pid is not None

    @property
    def is_ours(self) -> bool:
        """We started it, and did not only find it running."""
        return self._child is not None

    async def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it, with `environment` on top of ours. Raises StateError when there is no such program."""
        # setpriv sets the death signal and becomes the command: the process id stays. An own session keeps the
        # terminal's Ctrl-C away, so that whoever started it ends things in order.
        if not self._detached:
            command = tied(command, "KILL")
        # Without compiled modules Synapse takes 2.6 s to start instead of 1.0.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("ab") as log:
            self._log_starts = log.tell()
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *command,
                    env={**inherited, **(environment or {})},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise StateError(f"cannot start the {self._name}: {error.filename} is not installed") from error
        with contextlib.suppress(OSError, ValueError):  # it has ended already
            self._pid_file.write_text(f"{self._child.pid} {_born(self._child.pid)}")

    async def stop(self, patience: float = 5.0) -> None:
        """End it: SIGTERM, and SIGKILL when it still runs after `patience` seconds."""
        pid = self.pid
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if pid is None or self.pid != pid:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            deadline = time.monotonic() + patience
            while self.pid == pid and time.monotonic() < deadline:  # noqa: ASYNC110 — not always our child to wait for
                await asyncio.sleep(0.02)
        self._child = None

    def said(self) -> str:
        """What it printed since we started it; all there is, when we did not."""
        with self.log.open("rb") as log:
            log.seek(self._log_starts)
            return log.read().decode(errors="replace")

    def last_words(self) -> str:
        """The last line it printed, and where the others are."""
        lines = self.said().strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (see {self.log})"


def _born(pid: int) -> str:
    """When a process began, in the kernel's ticks: with this a process id is not mistaken for a later one's."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if stat[0] == "Z":
        raise ValueError("a zombie has ended")
    return stat[19]
