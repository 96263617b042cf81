"""Commands that the daemon knows: sent to it as they were typed, and what it says is printed.

Nothing is loaded that is not needed for that: what there is to ask for is declared in the daemon, and looked up here
(`roommate.cli.declared_commands`) only where none runs, or for ``--help``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from roommate.cli import daemon_requests
from roommate.text.printable import printable

LOCAL = frozenset(
    {
        *("run", "start", "stop", "restart", "reload", "status", "logs", "settings"),
        *("init", "auth", "doctor", "audit", "backup", "restore", "image"),
        *("update", "rollback", "version", "self-check"),
        *("chat", "send", "demo", "verify"),
        *("recovery setup", "recovery restore"),
        *("sandbox exec", "sandbox shell"),
        *("exec", "call", "share get", "share put"),
        *("workspace get", "workspace put", "workspace export", "workspace import"),
    }
)
"""What is done here, whether a daemon runs or not; or streams. All else is for the daemon."""

PEERS = frozenset({"ping", "who", "share ls"})
"""What asks another daemon, with exit codes as `roommate exec` has them."""

METHOD = "operations.cli"
"""As `roommate.doors.command_line` has it."""


def knows(arguments: Sequence[str]) -> bool:
    """Is this for the daemon?"""
    ours = is_local(arguments) or "--help" in arguments
    return bool(arguments) and not arguments[0].startswith("-") and not ours


def is_local(arguments: Sequence[str]) -> bool:
    """Has it nothing to do with what is declared?"""
    return _is_one_of(LOCAL, arguments)


def _is_one_of(commands: AbstractSet[str], arguments: Sequence[str]) -> bool:
    return not commands.isdisjoint(" ".join(arguments[:count]) for count in (1, 2))


def run(arguments: Sequence[str]) -> None:
    """Raises NotRunning, ControlError."""
    with daemon_requests.asking_peers() if _is_one_of(PEERS, arguments) else contextlib.nullcontext():
        shown = daemon_requests.ask(METHOD, arguments=list(arguments))
    if shown["as_json"]:
        daemon_requests.show_json(shown["result"])
    elif table := shown["table"]:
        daemon_requests.show_table(table["heads"], table["rows"])
    elif shown["markdown"] and sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(printable(shown["markdown"]), hyperlinks=False))
    elif text := shown["markdown"] or shown["text"]:
        sys.stdout.write(printable(text) + "\n")
    if code := shown.get("exit_code"):  # a daemon of the release before says none
        sys.exit(code)
