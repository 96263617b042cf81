"""What a tool's work came to, before it is a ToolResult of a call."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.domain import Picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is for the model, `title` one short line for people."""

    text: str
    title: str
    ok: bool = True
    picture: Picture | None = None


def counted(number: int, what: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('ch') else 's'}"


def size(count: int) -> str:
    """Bytes as people read them: ``512 B``, ``1.5 KB``."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"
