"""`roommate start`, `stop`, `restart`: the daemon in the background, without systemd."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import typer

from roommate.cli import daemon_requests
from roommate.cli.status import connect
from roommate.errors import ConfigError, ControlError, NotRunning
from roommate.host import daemon_location, folder_modes
from roommate.text.amounts import age

LOG = Path("logs") / "roommate.log"
"""Below STATE_DIR: `logs.FILE`, which knows when it is stderr as well."""
LOOK_SECONDS = 0.05
START_SECONDS = 120.0
STOP_SECONDS = 10.0
TAIL = 20
"""Lines of the log that are shown when a start fails."""


def start() -> int:
    """Start it and wait until it is ready; gives the exit code. Fine when it runs already."""
    with contextlib.suppress(NotRunning), connect() as daemon:
        found = daemon.call("status")
        typer.echo(f"It runs already: process {found['pid']}, for {age(found['uptime'])}.", err=True)
        return 0
    state = daemon_location.state_dir()
    log = state / LOG
    try:
        folder_modes.private(log.parent)
        out = log.open("ab")
    except (OSError, ValueError) as error:
        why = f"it must be a folder that can be written: {str(getattr(error, 'strerror', error)).lower()}"
        raise ConfigError(f"STATE_DIR: {why} (it is {str(state)!r})") from error
    with out:
        log.chmod(0o600)
        begins = out.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "roommate", "run"] if not _script() else [_script(), "run"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    seconds = START_SECONDS * daemon_location.patience()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            typer.echo("".join(_tail(log, begins)), nl=False, err=True)
            return code or 1
        if _ready():
            typer.echo(f"Roommate runs: process {process.pid}, log in {log}.", err=True)
            return 0
        time.sleep(LOOK_SECONDS)
    typer.echo("".join(_tail(log, begins)), nl=False, err=True)
    typer.echo(f"Process {process.pid} runs, and is not ready after {seconds:g} s; its log is {log}.", err=True)
    return 1


def stop() -> None:
    """Stop it and wait until it has ended. Raises NotRunning, ControlError."""
    with connect() as daemon:
        found = daemon.call("status")
        if found["systemd"]:
            raise ControlError("systemd would start it again: `systemctl stop roommate`, with --user for a user's unit")
        pid = found["pid"]
        ended = _ending(pid)
        daemon.call("stop")
    seconds = STOP_SECONDS * daemon_location.patience()
    if not ended(seconds):
        raise ControlError(f"process {pid} has not ended within {seconds:g} s")
    typer.echo("Stopped.", err=True)


def restart() -> None:
    """Have it begin again as the same process, and wait until it is ready. Raises NotRunning, ControlError."""
    with connect() as daemon:
        before = daemon.call("status")
        daemon.call("restart")
    ended = _ending(before["pid"])
    seconds = START_SECONDS * daemon_location.patience()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := _ready()) and found["since"] != before["since"]:
            typer.echo(f"Restarted: process {found['pid']}, version {found['version']}.", err=True)
            return
        if ended(LOOK_SECONDS):
            raise ControlError(f"process {before['pid']} has ended: its log says why")
    raise ControlError(f"it is not ready after {seconds:g} s: `roommate status` shows how it is")


def reload(*, as_json: bool) -> None:
    """Have it read `.env` again, and tell what became of that. Raises NotRunning, ControlError."""
    found = daemon_requests.ask("reload")
    if as_json:
        daemon_requests.show_json(found)
        return
    changed, late = found["changed"], found["need_restart"]
    typer.echo(f"Changed: {', '.join(changed)}." if changed else "Nothing that counts at once has changed.", err=True)
    if late:
        typer.echo(f"After a restart only (`roommate restart`): {', '.join(late)}.", err=True)


def _ready() -> dict[str, Any] | None:
    """The daemon's status once it is ready."""
    with contextlib.suppress(ControlError), connect() as daemon:
        found: dict[str, Any] = daemon.call("status")
        return found if found["state"] != "starting" else None
    return None


def _ending(pid: int) -> Any:
    """A function that waits so many seconds for the end of a process, and says whether it came."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return lambda seconds: True
    return lambda seconds: bool(select.select([process], [], [], seconds)[0])


def _script() -> str:
    """The console script that we are; empty for `python -m roommate`."""
    return "" if sys.argv[0].endswith("__main__.py") else os.path.abspath(sys.argv[0])  # noqa: PTH100 — keeps links


def _tail(log: Path, begins: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(begins)
        return file.read().decode(errors="replace").splitlines(keepends=True)[-TAIL:]
