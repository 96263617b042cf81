"""Asking the daemon, and showing what it says: as a table, or as JSON."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import typer

from roommate.cli.status import connect
from roommate.printable import printable

JsonObject = dict[str, Any]
Column = Callable[[JsonObject], object]
WIDEST = 1000
"""Columns of a table that no terminal is narrower than: it is for another program, or a file."""


def ask(method: str, **params: Any) -> Any:
    """What a method gives. Raises NotRunning, ControlError."""
    with connect() as daemon:
        return daemon.call(method, **params)


def pieces(method: str, out: BinaryIO, **params: Any) -> Any:
    """Write what a method sends in base64, as it comes; gives its result. Raises NotRunning, ControlError."""
    with connect() as daemon:
        stream = daemon.stream(method, **params)
        while True:
            try:
                piece = next(stream)
            except StopIteration as end:
                return end.value
            out.write(base64.b64decode(piece))
            out.flush()


def table(found: Sequence[JsonObject], columns: Mapping[str, Column], *, as_json: bool) -> None:
    """A row for each."""
    if as_json:
        show_json(found)
        return
    from rich.console import Console
    from rich.table import Column as Head
    from rich.table import Table
    from rich.text import Text

    shown = Table(*(Head(name, overflow="fold") for name in columns), box=None)
    for one in found:
        shown.add_row(*(Text(printable(column(one))) for column in columns.values()))
    Console(width=None if sys.stdout.isatty() else WIDEST).print(shown)


def lines(rows: Iterator[tuple[str, object]] | Sequence[tuple[str, object]]) -> None:
    """A name and what it is, one a line."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        typer.echo(f"{name:{width}}  {printable(text)}")


def show_json(found: Any) -> None:
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def size(count: int) -> str:
    """Bytes for people."""
    mebibytes = count / (1 << 20)
    return f"{mebibytes:.1f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def cost(dollars: float | None) -> str:
    return "" if dollars is None else f"${dollars:.4f}"
