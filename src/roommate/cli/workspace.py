"""`roommate workspace`."""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from roommate.cli import daemon_requests
from roommate.cli.path_and_secret_arguments import STREAM, Room, typed_path
from roommate.cli.status import connect

app = typer.Typer(no_args_is_help=True, help="The files of a room.")

PIECE = 4 << 20

Inside = Annotated[str, typer.Argument(help="A path in the room; /workspace is where it begins.")]
Local = Annotated[Path, typer.Argument(parser=typed_path, help="A file here; `-` is stdin or stdout.")]


@app.command("get")
def _get(room: Room, path: Inside, to: Local = STREAM) -> None:
    """Copy a file out of a room."""
    if to == STREAM:
        daemon_requests.pieces("workspace.get", sys.stdout.buffer, room=room, path=path)
        return
    daemon_requests.pieces("workspace.get", to / Path(path).name if to.is_dir() else to, room=room, path=path)


@app.command("put")
def _put(room: Room, source: Local, path: Inside) -> None:
    """Copy a file into a room."""
    if source == STREAM:
        _send(room, sys.stdin.buffer, path)
        return
    with source.open("rb") as file:
        _send(room, file, path)


@app.command("export")
def _export(room: Room, to: Local) -> None:
    """Write all files of a room into a gzipped tar."""
    daemon_requests.pieces("workspace.export", sys.stdout.buffer if to == STREAM else to, room=room)


@app.command("import")
def _import(room: Room, source: Local) -> None:
    """Unpack a tar into a room's workspace; what has the same name is replaced, all else stays."""
    aside = f".import-{secrets.token_hex(4)}.tar"
    if source == STREAM:
        _send(room, sys.stdin.buffer, aside)
    else:
        with source.open("rb") as file:
            _send(room, file, aside)
    daemon_requests.ask("workspace.unpack", room=room, path=aside)


def _send(room: str, source: BinaryIO, path: str) -> None:
    first = True
    with connect() as daemon:
        while (piece := source.read(PIECE)) or first:
            daemon.call("workspace.put", room=room, path=path, piece=base64.b64encode(piece).decode(), first=first)
            first = False
