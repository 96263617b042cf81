"""Asking the daemon, and showing what it says: as a table, or as JSON."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from roommate.cli.status import connect
from roommate.errors import ControlError
from roommate.text.printable import printable

JsonObject = dict[str, Any]
Column = Callable[[JsonObject], object]
NARROW = 24
"""Characters of a cell that stay on one line: what is longer is folded first."""
USAGE, NOT_DONE = 64, 255
"""Of what asks other daemons. EX_USAGE of sysexits.h; as ssh(1) has it: a program there may end with any other."""


def ask(method: str, **params: Any) -> Any:
    """What a method gives. Raises NotRunning, ControlError."""
    with connect() as daemon:
        return daemon.call(method, **params)


@contextlib.contextmanager
def asking_peers() -> Iterator[None]:
    """An error's code is none that a program at another daemon is likely to end with."""
    try:
        yield
    except ControlError as error:
        error.exit_code = {1: NOT_DONE, 2: USAGE, 3: NOT_DONE}.get(error.exit_code, error.exit_code)
        raise


def pieces(method: str, to: BinaryIO | Path, **params: Any) -> Any:
    """Write what a method sends in base64, as it comes, errors to stderr; gives its result. Raises NotRunning,
    ControlError.

    A file is opened when something has come, so that it stays as it was where there is nothing to be had.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(connect()).stream(method, **params)
        ended, piece = _next(stream)
        out = stack.enter_context(to.open("wb")) if isinstance(to, Path) else to
        while not ended:
            errors = isinstance(piece, dict)
            shown = sys.stderr.buffer if errors else out
            shown.write(base64.b64decode(piece["errors"] if errors else piece))
            shown.flush()
            ended, piece = _next(stream)
        return piece


def _next(stream: Generator[Any, None, Any]) -> tuple[bool, Any]:
    """The next piece; or that it has ended, and with what."""
    try:
        return False, next(stream)
    except StopIteration as end:
        return True, end.value


def table(found: Sequence[JsonObject], columns: Mapping[str, Column], *, as_json: bool) -> None:
    """A row for each."""
    if as_json:
        show_json(found)
        return
    show_table(list(columns), [[str(column(one)) for column in columns.values()] for one in found])


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """In columns: as wide as the terminal, with long texts folded and without what is empty in each row; or all of it,
    as it is, for another program or a file. Without `heads` each row is a name and what it is."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        columns = list(zip(*rows, strict=True)) or [()] * len(heads)
        kept = [at for at, cells in enumerate(columns) if any(cells) or not rows]
        shown = Table(box=None, show_header=bool(heads))
        for at in kept:
            narrow = max(map(len, columns[at]), default=0) <= NARROW
            shown.add_column(heads[at] if heads else "", overflow="fold", no_wrap=narrow)
        for row in rows:
            shown.add_row(*(Text(row[at]) for at in kept))
        Console().print(shown)
        return
    rows = [list(heads), *rows] if heads else rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def show_json(found: Any) -> None:
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
