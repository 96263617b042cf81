"""What there is to ask for, as people read it: in ``!help``, and in the tables of docs/commands.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roommate.operations import Operation, Who
from roommate.operations.words import chat_usage, cli_usage

AnyOperation = Operation[Any, Any, Any]


def of_chat(operations: Iterable[AnyOperation]) -> str:
    """A line for each that can be said, as a list."""
    return "\n".join(f"- {_forms(one)} {does(one)}" for one in operations if one.chat)


def chat_table(operations: Iterable[AnyOperation]) -> str:
    """A table of Markdown."""
    rows = (f"| {_forms(one)} | {does(one)} |" for one in operations if one.chat)
    return "\n".join(("| say | what it does |", "|---|---|", *rows, ""))


def cli_table(operations: Iterable[AnyOperation]) -> str:
    """A table of Markdown."""
    rows = (f"| `{cli_usage(one, form)}` | {one.does} |" for one in operations for form in one.cli)
    return "\n".join(("| command | what it does |", "|---|---|", *rows, ""))


def does(operation: AnyOperation) -> str:
    return f"{operation.does}{' (operators)' if operation.who is not Who.ANYONE else ''}"


def _forms(operation: AnyOperation) -> str:
    return ", ".join(f"`{chat_usage(operation, form)}`" for form in operation.chat)
