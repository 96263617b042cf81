"""`roommate recovery`: what has a recovery key in it, which is shown or typed here, and no process has as argument."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from roommate.cli import daemon_requests
from roommate.cli.path_and_secret_arguments import AsJson, typed_secret
from roommate.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="The key with which encrypted rooms can be read on another device.")


@app.command("setup")
def _setup(
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where there is a recovery key, or another client's identity.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a recovery key, and back up the rooms' keys. The key is printed once: keep it where the bot is not."""
    found = daemon_requests.ask("recovery.setup", replace=replace)
    if as_json:
        daemon_requests.show_json(found)
    else:
        typer.echo(found["recovery_key"])
    sys.stdout.flush()
    daemon_requests.ask("recovery.shown", key_id=found["key_id"])
    typer.echo(
        "This recovery key is not shown again: keep it where the bot is not. Room keys are backed up now.", err=True
    )


@app.command("restore")
def _restore(
    key: Annotated[
        str,
        typer.Option(
            metavar="@FILE", help="A file with the recovery key or its passphrase (default: asked for, or stdin)."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take over the account's identity and the rooms' keys, with its recovery key or its passphrase."""
    found = daemon_requests.ask("recovery.restore", key=_key(key))
    if as_json:
        daemon_requests.show_json(found)
    elif found["version"]:
        typer.echo(f"{found['keys']} room keys came from key backup {found['version']}, which the bot writes to now.")
    if found["problem"]:
        typer.echo(f"Not everything could be recovered: {found['problem']}.", err=True)
        raise typer.Exit(1)


def _key(given: str) -> str:
    if given and not given.startswith("@"):
        raise ConfigError("a recovery key on the command line can be read by others: give @FILE, stdin, or type it")
    if given:
        return typed_secret(given)
    if sys.stdin.isatty():
        from rich.console import Console
        from rich.prompt import Prompt

        return Prompt.ask("Recovery key or passphrase", console=Console(stderr=True, highlight=False), password=True)
    return sys.stdin.readline().rstrip("\r\n")
