"""What a tool's work came to, before it is a ToolResult of a call."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.domain import Picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is for the model, `title` one short line for people, who see the `diff` of a file, too."""

    text: str
    title: str
    ok: bool = True
    picture: Picture | None = None
    diff: str = ""


def counted(number: int, what: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('ch') else 's'}"
