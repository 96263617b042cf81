"""The tool todo: what is planned and done in long work, for people to see in the turn's message."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from roommate.domain import TODO, Mark, todo_items, todo_text
from roommate.errors import ToolError
from roommate.tools.arguments import Arguments
from roommate.tools.outcome import Outcome
from roommate.tools.tool import Call, tool

MOST_ITEMS = 50
LONGEST_ITEM = 200


def _lines(value: object) -> object:
    """Some models write a list as one text."""
    return value.splitlines() if isinstance(value, str) else value


class Todo(Arguments):
    """Show people your steps: before work of more than three, and again, whole, when one is begun or done."""

    items: Annotated[list[str], BeforeValidator(_lines)] = Field(
        description="The steps in order, each in a few words behind its mark: "
        "`[ ]` to do, `[>]` doing now, `[x]` done, `[-]` dropped"
    )


async def show(asked: Todo, call: Call) -> Outcome:
    items = todo_items(line[:LONGEST_ITEM] for line in asked.items[:MOST_ITEMS])
    if not items:
        raise ToolError("there is no step in the list", "write each as an item, such as `[ ] run the tests`")
    done = sum(item.mark is Mark.DONE for item in items)
    return Outcome(todo_text(items), f"{done} of {len(items)} done")


TOOLS = (tool(TODO, Todo, show, sandbox=False, looks=True),)
