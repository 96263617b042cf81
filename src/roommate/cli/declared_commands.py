"""What is declared as an operation, as commands of Typer's: for ``--help``, and what is wrong with a line.

It comes from a file that is made of the declarations (`roommate.doors.reference.write`): to load these themselves, with
all that they do, would take several times as long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from roommate.cli import forward_to_daemon
from roommate.cli.peer_requests import PeerCommand

GROUPS = {
    "rooms": "The rooms that the bot is in.",
    "turns": "What the bot was asked, and what it did.",
    "queue": "What waits for its turn.",
    "thread": "Whether each task in a room gets a thread of its own.",
    "approvals": "Questions in the rooms that wait for a person.",
    "model": "The model of a room.",
    "prompt": "What the model is told in a room.",
    "egress": "Where a room's container may connect to.",
    "repo": "The repositories that a room may use.",
    "devices": "The devices of the bot's account.",
    "agents": "The coding agents of a room.",
    "room": "A room's own settings.",
    "verbose": "How much a room sees of its model's work.",
    "schedules": "What is asked in a room later, or again and again.",
    "trust": "The daemons that are known, and which of them are trusted.",
    "policy": "What other daemons may ask of this one.",
    "requests": "What daemons have asked of each other.",
}


FILE = Path(__file__).with_name("declared.json")
KINDS: Mapping[str, type] = {"str": str, "int": int, "bool": bool}


def add_to(
    app: typer.Typer, there: Mapping[str, typer.Typer], declared: Iterable[Mapping[str, Any]] | None = None
) -> None:
    """Every one, as `reference.for_help` gives it, to the group of its first word, which may be `there` already, or to
    `app`."""
    groups, every = {"": app, **there}, list(json.loads(FILE.read_text("utf-8")) if declared is None else declared)
    heads = {one["command"].rpartition(" ")[0] for one in every}
    for one in every:
        group, _, name = one["command"].rpartition(" ")
        if group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, help=GROUPS.get(group))
            app.add_typer(groups[group], name=group)
        if name in heads:  # such as `identity`, beside `identity rotate`
            groups[name] = typer.Typer(invoke_without_command=True, callback=_command(one["words"]), help=one["does"])
            app.add_typer(groups[name], name=name)
            continue
        kind = PeerCommand if one["command"] in forward_to_daemon.PEERS else None
        groups[group].command(name, cls=kind, help=one["does"])(_command(one["words"]))


def _command(words: Iterable[Mapping[str, Any]]) -> Any:
    def command(context: typer.Context, **given: Any) -> None:
        if context.invoked_subcommand is None:
            forward_to_daemon.run(sys.argv[1:])

    context = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *map(_parameter, words)]
    as_json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
    parameters.append(Parameter("as_json", Parameter.KEYWORD_ONLY, annotation=as_json, default=False))
    setattr(command, "__signature__", Signature(parameters))  # noqa: B010 — what Typer goes by
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _parameter(word: Mapping[str, Any]) -> Parameter:
    kind: Any = list[str] if word["many"] else KINDS[word["kind"]]
    about: Any
    if word["options"]:
        about = typer.Option(*word["options"], help=word["description"])
    else:
        about = typer.Argument(metavar=word["written"], help=word["description"])
    default = Parameter.empty if word["required"] else False if kind is bool else None
    if default is None:
        kind = kind | None
    return Parameter(word["name"], Parameter.KEYWORD_ONLY, annotation=Annotated[kind, about], default=default)
