"""Commands that the daemon knows: sent to it as they were typed, and what it says is printed.

Nothing is loaded that is not needed for that: what there is to ask for is declared in the daemon, and looked up here
(`roommate.cli.declared`) only where none runs, or for ``--help``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from roommate.cli import ask
from roommate.printable import printable

NAMES: Mapping[str, frozenset[str]] = {
    "rooms": frozenset({"ls", "show", "who", "leave", "reset", "pause", "resume"}),
    "turns": frozenset({"ls", "show", "cancel", "stop"}),
    "approvals": frozenset({"ls", "approve", "deny"}),
    "sandbox": frozenset({"ls", "disk", "stop", "rm"}),
    "workspace": frozenset({"reset"}),
    "model": frozenset({"show", "set"}),
    "prompt": frozenset({"show", "set"}),
    "egress": frozenset({"show", "add", "remove", "preset"}),
    "repo": frozenset({"show", "add", "remove"}),
    "agents": frozenset({"show", "prefer"}),
    "usage": frozenset({""}),
}
"""First words, and the second ones that may follow, ``""`` for none."""

METHOD = "operations.cli"
"""As `roommate.doors.command_line` has it."""


def knows(arguments: Sequence[str]) -> bool:
    """Is this for the daemon?"""
    first, second = [*arguments[:2], "", ""][:2]
    seconds = NAMES.get(first, frozenset[str]())
    return (second in seconds or "" in seconds) and "--help" not in arguments


def run(arguments: Sequence[str]) -> None:
    """Raises NotRunning, ControlError."""
    shown = ask.ask(METHOD, arguments=list(arguments))
    if shown["as_json"]:
        ask.show_json(shown["result"])
    elif table := shown["table"]:
        ask.show_table(table["heads"], table["rows"])
    elif shown["markdown"] and sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(printable(shown["markdown"]), hyperlinks=False))
    elif text := shown["markdown"] or shown["text"]:
        sys.stdout.write(printable(text) + "\n")
