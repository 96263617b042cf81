"""`roommate settings`."""

from __future__ import annotations

import typer

from roommate.cli import daemon_requests
from roommate.text.printable import printable


def settings(*, diff: bool, as_json: bool) -> None:
    """What the daemon has, or with `diff` where `.env` says something else. Raises NotRunning, ControlError."""
    for doubt in daemon_requests.ask("settings.doubts"):
        typer.echo(f"roommate: {printable(doubt)}", err=True)
    if diff:
        found = daemon_requests.ask("settings.diff")
        if not found and not as_json:
            typer.echo("What is written is what runs.", err=True)
            return
        daemon_requests.table(
            found,
            {
                "setting": lambda one: one["name"],
                "runs": lambda one: one["runs"],
                "written": lambda one: one["written"],
                "counts after": lambda one: f"roommate {one['needs']}",
            },
            as_json=as_json,
        )
        return
    columns: dict[str, daemon_requests.Column] = {
        "setting": lambda one: one["name"],
        "value": lambda one: one["value"],
        "": lambda one: "default" if one["default"] else "",
    }
    daemon_requests.table(daemon_requests.ask("settings"), columns, as_json=as_json)
