"""The door for the command line: ``roommate WORDS …`` comes as it was typed, and is told what to print.

So `roommate` itself loads none of the declarations in order to ask for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from roommate.control.method import Caller, Method, Params
from roommate.doors.socket import Asked, SocketDoor
from roommate.errors import Misused
from roommate.operations import Form, Operation, Operations, Table
from roommate.operations.parameters import JSON, cli_usage, typed

NAME = "operations.cli"
"""The method."""


class Typed(Params):
    arguments: list[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """What to print: the `result` as JSON, or for people a table, Markdown, or plain text. And the exit code."""

    as_json: bool
    result: Any = None
    table: Table | None = None
    markdown: str = ""
    text: str = ""
    exit_code: int = 0


def method(operations: Operations, door: SocketDoor) -> Method:
    async def act(params: Typed, caller: Caller) -> Shown:
        known = [bound.operation for bound in operations.known.values()]
        operation, raw, as_json = understood(known, params.arguments)
        result = await operations.perform(operation.name, raw, door.call(caller))
        if isinstance(result, Asked) and not as_json:
            number = result.approval
            text = f"The room is asked: question {number}. `roommate approvals approve {number}` says yes."
            return Shown(as_json=False, markdown=text)
        code = int(not isinstance(result, Asked) and operation.wrong(result))
        if as_json:
            return Shown(as_json=True, result=result, exit_code=code)
        if operation.terminal is None:
            return Shown(as_json=False, markdown=operation.reads(result), exit_code=code)
        shown = operation.terminal(result)
        table, text = (shown, "") if isinstance(shown, Table) else (None, shown)
        return Shown(as_json=False, table=table, text=text, exit_code=code)

    return Method(act, Typed)


def understood(
    operations: Iterable[Operation[Any, Any, Any]], arguments: Sequence[str]
) -> tuple[Operation[Any, Any, Any], Any, bool]:
    """What is meant: the operation, its parameters, and whether the answer is to be JSON. Raises Misused."""
    found: tuple[Operation[Any, Any, Any], Form] | None = None
    for operation in operations:
        for form in operation.cli:
            words = form.words.split()
            longer = found is None or len(words) > len(found[1].words.split())
            if list(arguments[: len(words)]) == words and longer:
                found = operation, form
    if found is None:
        raise Misused(f"there is no `roommate {' '.join(arguments[:2])}`: `roommate --help` shows what there is")
    operation, form = found
    rest = list(arguments[len(form.words.split()) :])
    end = rest.index("--") if "--" in rest else len(rest)
    if as_json := JSON in rest[:end]:
        rest.remove(JSON)
    try:
        return operation, typed(operation, form, rest), as_json
    except Misused as error:
        raise Misused(f"{error} (usage: {cli_usage(operation, form)} [{JSON}])") from None
