"""What there is to ask for, as people read it: in ``!help``, ``--help``, and the tables of docs/commands.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from roommate.operations import Operation, Who
from roommate.operations.parameters import chat_usage, cli_usage, words_of

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


def for_help(operations: Iterable[AnyOperation]) -> Sequence[dict[str, Any]]:
    """The command line, for `roommate.cli.declared_commands`."""
    return [
        {
            "command": form.words,
            "does": one.does,
            "words": [
                {
                    "name": word.name,
                    "written": word.written,
                    "description": word.description,
                    "kind": word.kind.__name__,
                    "many": word.many,
                    "required": word.required,
                    "options": [name for name in (word.short, word.option) if name] if word.is_option else [],
                }
                for word in words_of(one.params, form)
            ],
        }
        for one in operations
        for form in one.cli
    ]


def write(operations: Iterable[AnyOperation], page: Path, help_file: Path) -> None:
    """Both anew: docs/commands.md, and what ``--help`` reads."""
    known = list(operations)
    page.write_text(written(page.read_text(), known))
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in for_help(known))
    help_file.write_text(f"[\n{lines}\n]\n")


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
