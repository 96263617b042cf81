"""`roommate turns`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from roommate.cli import ask
from roommate.cli.rooms import AsJson, RoomOrAll
from roommate.cli.status import age
from roommate.printable import printable

app = typer.Typer(no_args_is_help=True, help="What the bot was asked, and what it did.")

Turn = Annotated[int, typer.Argument(help="A turn's number.")]


@app.command("ls")
def _ls(
    room: RoomOrAll = "",
    most: Annotated[int, typer.Option("-n", help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest turns, the newest first."""
    columns: dict[str, ask.Column] = {
        "turn": lambda turn: turn["id"],
        "room": lambda turn: turn["room_id"],
        "asked by": lambda turn: turn["asked_by"],
        "state": lambda turn: turn["state"],
        "began": lambda turn: f"{age(time.time() - turn['started'])} ago",
        "took": lambda turn: age(turn["seconds"]),
        "tokens": lambda turn: turn["tokens"] or "",
        "cost": lambda turn: ask.cost(turn["cost"]),
        "model": lambda turn: turn["model"],
    }
    ask.table(ask.ask("turns.list", room=room, most=most), columns, as_json=as_json)


@app.command("show")
def _show(turn: Turn, as_json: AsJson = False) -> None:
    """Show a turn step by step: the prompt, what the model said and called, what came of it."""
    found = ask.ask("turns.show", turn=turn)
    if as_json:
        ask.show_json(found)
        return
    line = found["line"]
    typer.echo(f"turn {line['id']} in {line['room_id']}: {line['state']}, {age(line['seconds'])}, {line['model']}")
    if found["forgotten"]:
        typer.echo("What it did is not kept any more: it is older than KEEP_DAYS.")
    for step in found["steps"]:
        typer.echo(printable(f"\n── {step['kind']}{' ' if step['about'] else ''}{step['about']}\n{step['text']}"))


@app.command("cancel")
def _cancel(turn: Turn) -> None:
    """Stop a turn that runs."""
    ask.ask("turns.cancel", turn=turn)
