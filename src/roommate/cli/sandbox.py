"""`roommate sandbox`."""

from __future__ import annotations

import base64
import sys
from typing import Annotated

import typer

from roommate import control
from roommate.cli import daemon_requests
from roommate.cli.path_and_secret_arguments import Room
from roommate.cli.status import connect
from roommate.errors import ControlError
from roommate.host import daemon_location
from roommate.text.amounts import size

app = typer.Typer(no_args_is_help=True, help="The rooms' containers.")

MOST_STDIN = 8 << 20


@app.command("exec", context_settings={"ignore_unknown_options": True})
def _exec(
    room: Room,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
) -> None:
    """Run a program in a room's container, as the model's tools do; its exit code is ours, its stdin what we get."""
    stdin = b"" if sys.stdin.isatty() else sys.stdin.buffer.read(MOST_STDIN + 1)
    if len(stdin) > MOST_STDIN:
        raise ControlError(f"stdin has more than {size(MOST_STDIN)}: put it into a file (`roommate workspace put`)")
    given = base64.b64encode(stdin).decode()
    exit = daemon_requests.pieces("sandbox.run", sys.stdout.buffer, room=room, command=command, stdin=given)
    raise typer.Exit(exit["code"] if exit["code"] is not None else 128 + exit["signal"])


@app.command("shell")
def _shell(
    room: Room,
    term: Annotated[str, typer.Option(envvar="TERM", show_default=False, help="What terminal this is.")] = "dumb",
) -> None:
    """Open a shell in a room's container, in this terminal; its exit code is ours. Enter ~ . leaves it, and ends it."""
    if not sys.stdin.isatty():
        raise ControlError("a shell needs a terminal: `roommate sandbox exec` does not")
    import asyncio  # a fifth of a second

    from roommate.cli import shell_terminal

    with connect():  # to say what is wrong where nobody is there
        pass
    program = shell_terminal.shell(room, term)
    raise typer.Exit(asyncio.run(shell_terminal.attend(daemon_location.run_dir() / control.NAME, program)))
