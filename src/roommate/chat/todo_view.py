"""The look of what a turn plans and has done: short while it runs, whole when it has ended."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import Mark, TodoItem
from roommate.text.printable import plain

LIVE_ITEMS = 4
"""Steps that a live message shows, from the first that is not done: on a phone there is more to see."""

_SIGNS = {Mark.OPEN: "☐", Mark.DOING: "▶", Mark.DONE: "☑", Mark.DROPPED: "☒"}


def live(items: Sequence[TodoItem]) -> list[str]:
    """Lines of Markdown: how far it is, what is done now and what comes next."""
    left = [item for item in items if item.mark in (Mark.OPEN, Mark.DOING)]
    first = sorted(left, key=lambda item: item.mark is not Mark.DOING)[:LIVE_ITEMS]
    done = sum(item.mark is Mark.DONE for item in items)
    hidden = [f"☐ *{len(left) - len(first)} more*"] if len(left) > len(first) else []
    return [f"☑ *{done} of {len(items)} done*", *map(_line, first), *hidden]


def whole(items: Sequence[TodoItem]) -> list[str]:
    """Lines of Markdown: every step."""
    return [_line(item) for item in items]


def _line(item: TodoItem) -> str:
    text = plain(item.text)
    return f"{_SIGNS[item.mark]} " + {Mark.DOING: f"**{text}**", Mark.DROPPED: f"~~{text}~~"}.get(item.mark, text)
