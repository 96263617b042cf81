"""`roommate approvals`."""

from __future__ import annotations

from typing import Annotated

import typer

from roommate.cli import ask
from roommate.cli.rooms import AsJson
from roommate.cli.status import age

app = typer.Typer(no_args_is_help=True, help="Questions in the rooms that wait for a person.")

Number = Annotated[int, typer.Argument(help="A question's number.")]


@app.command("ls")
def _ls(as_json: AsJson = False) -> None:
    """Show what is asked and not decided."""
    columns: dict[str, ask.Column] = {
        "question": lambda one: one["id"],
        "room": lambda one: one["room_id"],
        "what": lambda one: one["what"],
        "about": lambda one: one["subject"],
        "choices": lambda one: " ".join(one["choices"]),
        "open for": lambda one: age(one["seconds"]),
        "who": lambda one: "operators" if one["operators_only"] else "",
    }
    ask.table(ask.ask("approvals.list"), columns, as_json=as_json)


@app.command("approve")
def _approve(
    question: Number,
    always: Annotated[bool, typer.Option("--always", help="Also all of its kind in that room, from now on.")] = False,
) -> None:
    """Say yes, as a ✅ in the room does. Prints what is said there."""
    from roommate.chat.voice import ALWAYS, YES

    typer.echo(ask.ask("approvals.decide", approval=question, choice=ALWAYS if always else YES))


@app.command("deny")
def _deny(question: Number) -> None:
    """Say no, as a ❌ in the room does. Prints what is said there."""
    from roommate.chat.voice import NO

    typer.echo(ask.ask("approvals.decide", approval=question, choice=NO))
