"""A stranger's text for a terminal or for Markdown: the names of rooms, what people and models write, why something
failed, what a container says of itself."""

from __future__ import annotations

import re

# All that can move a cursor or start an escape sequence, and what reorders text for the eye.
# A text, which `re` compiles once when it is needed: who asks how the daemon is hardly ever needs it.
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"


def printable(text: object) -> str:
    """Without what a terminal would obey; lines and tabs stay."""
    return re.sub(_UNPRINTABLE, "", str(text))


HIDDEN = "\ufffd"
"""Stands for what nobody would see: control codes, what has no width, what turns the direction around."""


def one_line(text: str, most: int) -> str:
    """At most so many characters on one line. What is cut ends in ``…``."""
    line = " ".join(visible(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def visible(text: str) -> str:
    """With its lines and blanks, and a mark for whatever nobody would see."""
    return "".join(mark if mark.isprintable() or mark.isspace() else HIDDEN for mark in text)


def in_code(text: str, most: int) -> str:
    """At most so many characters as a Markdown code span, in which nothing means anything; "" for nothing."""
    line = one_line(text, most)
    return span(line) if line else ""


def plain(text: str) -> str:
    """Text of a stranger on one line of Markdown: what would mean something there means nothing."""
    return re.sub(r"([\\`*\[\]<>~|&]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def span(text: str) -> str:
    """Text of one line as a Markdown code span, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"`{text}`"


def block(text: str, language: str = "") -> str:
    """Text as a Markdown code block, whatever fences it holds."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
