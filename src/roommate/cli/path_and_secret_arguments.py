"""What a person typed: a path begins where that person stands, and a secret may be in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roommate.errors import ConfigError
from roommate.host import daemon_location

Room = Annotated[str, typer.Argument(help="A room's id, the beginning of one, or a room's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

STREAM = Path("-")
"""Typed for stdin or stdout."""


def typed_path(text: str | Path) -> Path:
    """The parser of an argument or an option of Typer's, and of its default."""
    return STREAM if Path(text) == STREAM else daemon_location.stands() / Path(text).expanduser()


def typed_secret(given: str) -> str:
    """What was typed, or what the file holds that it names with ``@FILE``. Raises ConfigError."""
    if not given.startswith("@"):
        return given
    file = typed_path(given[1:])
    try:
        return file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
