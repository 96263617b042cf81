"""`roommate status`: at once, so nothing is imported here that is not needed to ask and to print a few lines."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence

from roommate import control
from roommate.control.client import ANSWER_SECONDS, Client
from roommate.errors import ControlError, NotRunning
from roommate.host import daemon_location
from roommate.text.amounts import age, size
from roommate.text.printable import printable

TYPE_CHECKING = False  # see roommate/errors.py
if TYPE_CHECKING:
    from typing import Any

WATCH_SECONDS = 1.0

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

PATIENCE_SECONDS = 10.0
"""A daemon that does not tell how it is for so long is not well."""


def connect(patience: float = ANSWER_SECONDS) -> Client:
    """To the daemon of this folder's settings; `patience` is how many seconds an answer may take. Raises NotRunning."""
    return Client(daemon_location.run_dir() / control.NAME, patience)


def show(as_json: bool) -> None:
    """Raises NotRunning, ControlError."""
    try:
        found = _found()
    except NotRunning as error:
        if as_json:
            sys.stdout.write(json.dumps(_stopped(error)) + "\n")
        raise
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return
    rows = list(lines(found))
    width = max(len(name) for name, _ in rows)
    sys.stdout.writelines(f"{name:{width}}  {text}\n" for name, text in rows)


def check(as_json: bool) -> int:
    """One line for a monitor; the exit code that says the same (the convention of Nagios' plugins)."""
    code, found = CRITICAL, {}
    try:
        found = _found()
        problems = found["problems"]
        code = {"ok": OK, "warning": WARNING}.get(found["health"], CRITICAL)
        said = "; ".join(printable(problem["text"]) for problem in problems) or "all is well"
    except NotRunning as error:
        code, said, found = UNKNOWN, "no daemon runs here", _stopped(error)
    except ControlError as error:
        said, found = (
            f"the daemon does not say how it is: {printable(str(error))}",
            {"state": "mute", "error": str(error)},
        )
    if as_json:
        sys.stdout.write(json.dumps({"code": code, "said": said, **found}, ensure_ascii=False) + "\n")
        return code
    numbers = {"sync": "synced_ago", "outbox": "unsent", "inbox": "waiting", "turns": "turns", "disk_free": "disk_free"}
    measured = " ".join(f"{name}={found[key]:.0f}" for name, key in numbers.items() if found.get(key) is not None)
    sys.stdout.write(f"ROOMMATE {WORDS[code]}: {said}{' | ' if measured else ''}{measured}\n")
    return code


def stream() -> None:
    """A line of JSON every second, for another program, until Ctrl-C or until nobody reads it; also over a restart."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        while True:
            try:
                found = _found()
            except NotRunning as error:
                found = _stopped(error)
            sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)


def watch() -> None:
    """The same, drawn anew every second, until Ctrl-C; also over a restart."""
    import signal

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def look() -> Table:
        table = Table(box=None, show_header=False)
        try:
            rows: Sequence[tuple[str, str]] = list(lines(_found()))
        except ControlError as error:
            rows = [("state", "not running" if isinstance(error, NotRunning) else str(error))]
        for name, text in rows:
            table.add_row(Text(name, "bold"), Text(text))
        return table

    interrupt = {signal.SIGINT}  # taken where we wait, and nowhere in the middle of drawing
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupt)
    with Live(look(), console=Console(), auto_refresh=False) as live:
        while signal.sigtimedwait(interrupt, WATCH_SECONDS) is None:
            live.update(look(), refresh=True)


def _found() -> dict[str, Any]:
    with connect(PATIENCE_SECONDS) as daemon:
        found: dict[str, Any] = daemon.call("status")
        return found


def _stopped(error: NotRunning) -> dict[str, Any]:
    return {"state": "stopped", "error": str(error)}


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a status says, for people."""
    paused = f", paused by {found['paused']}" if found["paused"] else ""
    yield "state", found["state"] + (f": {printable(found['trouble'])}" if found["trouble"] else "") + paused
    for problem in found["problems"]:
        yield problem["level"], printable(problem["text"])
    yield "process", f"{found['pid']}, for {age(found['uptime'])}"
    yield "version", found["version"]
    yield "bot", f"{found['bot']} at {found['homeserver']}"
    yield "model", found["model"]
    ago = found["synced_ago"]
    healthy = "" if found["syncing"] else "NOT HEALTHY: "
    yield "sync", "none yet" if ago is None else f"{healthy}{age(ago)} ago"
    yield "rooms", str(found["rooms"])
    yield "containers", f"{found['containers']} running"
    yield "turns", f"{found['turns']} running, {found['waiting']} messages waiting"
    yield "outbox", f"{found['unsent']} unsent, {found['questions']} questions open"
    if found["disk_size"]:
        room = f"{size(found['disk_free'])} free ({found['disk_free'] / found['disk_size']:.0%})"
        yield "disk", f"{room}, the database has {size(found['database_bytes'])}"
    backup = found["backup_age"]
    yield "backup", "none" if backup is None else f"{age(backup)} ago"
    error = found["last_error"]
    yield "last error", f"{age(time.time() - found['last_error_at'])} ago: {printable(error)}" if error else "none"
