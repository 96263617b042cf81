"""`roommate usage` and `roommate settings`."""

from __future__ import annotations

import typer

from roommate.cli import ask
from roommate.printable import printable


def usage(*, as_json: bool) -> None:
    found = ask.ask("usage")
    columns: dict[str, ask.Column] = {
        "room": lambda room: room["room_id"],
        "name": lambda room: room["name"],
        "turns": lambda room: room["turns"],
        "tokens in": lambda room: room["input_tokens"],
        "tokens out": lambda room: room["output_tokens"],
        "cost": lambda room: ask.cost(room["cost"]),
        "coding agents": lambda room: ", ".join(
            f"{one['agent']} {one['usage']['input_tokens'] + one['usage']['output_tokens']}" for one in room["agents"]
        ),
    }
    ask.table(found, columns, as_json=as_json)


def settings(*, diff: bool, as_json: bool) -> None:
    """What the daemon has, or with `diff` where `.env` says something else. Raises NotRunning, ControlError."""
    for doubt in ask.ask("settings.doubts"):
        typer.echo(f"roommate: {printable(doubt)}", err=True)
    if diff:
        found = ask.ask("settings.diff")
        if not found and not as_json:
            typer.echo("What is written is what runs.", err=True)
            return
        ask.table(
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
    columns: dict[str, ask.Column] = {
        "setting": lambda one: one["name"],
        "value": lambda one: one["value"],
        "": lambda one: "default" if one["default"] else "",
    }
    ask.table(ask.ask("settings"), columns, as_json=as_json)
