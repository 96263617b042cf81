"""`roommate verify`: the emoji are shown here, where nobody on the way can change them."""

from __future__ import annotations

import typer

from roommate.cli.daemon_requests import JsonObject, ask
from roommate.text.printable import printable


def run(who: str, device: str) -> int:
    """Gives the exit code: 0 where both are verified. Raises NotRunning, ControlError."""
    begun = ask("verification.begin", who=who, device=device)
    typer.echo(f"{printable(begun['user'])} is asked: accept it in that client.")
    shown = ask("verification.watch", id=begun["id"])
    if not shown["emoji"]:
        return _end(shown)
    for sign, name in shown["emoji"]:
        typer.echo(f"  {sign}  {name}")
    match = typer.confirm("Does that client show the same, in this order?")
    return _end(ask("verification.confirm", id=begun["id"], match=match))


def _end(shown: JsonObject) -> int:
    typer.echo(printable(shown["ended"]))
    return 0 if shown["verified"] else 1
