"""What there is to ask for, as people read it: in ``!help``, and in the tables of docs/commands.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from roommate.operations import Operation, Who
from roommate.operations.parameters import chat_usage, cli_usage

AnyOperation = Operation[Any, Any, Any]


def of_chat(operations: Iterable[AnyOperation]) -> str:
    """A line for each that can be said, as a list."""
    return "\n".join(f"- {_forms(one)} {does(one)}" for one in operations if one.chat)


def chat_table(operations: Iterable[AnyOperation]) -> str:
    """A table of Markdown."""
    rows = (_row(_forms(one), does(one)) for one in operations if one.chat)
    return "\n".join(("| say | what it does |", "|---|---|", *rows, ""))


def cli_table(operations: Iterable[AnyOperation]) -> str:
    """A table of Markdown."""
    rows = (_row(f"`{cli_usage(one, form)}`", _small(one)) for one in operations for form in one.cli)
    return "\n".join(("| command | what it does |", "|---|---|", *rows, ""))


def written(page: str, operations: Iterable[AnyOperation]) -> str:
    """docs/commands.md with its tables as they have to be."""
    known = list(operations)
    for name, table in (("chat", chat_table(known)), ("command line", cli_table(known))):
        begin, end = f"<!-- {name}: generated -->\n", "<!-- end -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return page


def write(operations: Iterable[AnyOperation], page: Path = Path("docs/commands.md")) -> None:
    page.write_text(written(page.read_text(), operations))


def does(operation: AnyOperation) -> str:
    return f"{_small(operation)}{' (operators)' if operation.who is not Who.ANYONE else ''}"


def _small(operation: AnyOperation) -> str:
    """What it does, as a part of a line."""
    return f"{operation.does[:1].lower()}{operation.does[1:].removesuffix('.')}"


def _forms(operation: AnyOperation) -> str:
    return ", ".join(f"`{chat_usage(operation, form)}`" for form in operation.chat)


def _row(*cells: str) -> str:
    """A bar means something in a table, in code, too."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
