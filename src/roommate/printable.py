"""A stranger's text for a terminal: the names of rooms, what people and models write, why something failed."""

from __future__ import annotations

import re

# All that can move a cursor or start an escape sequence, and what reorders text for the eye.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Without what a terminal would obey; lines and tabs stay."""
    return _UNPRINTABLE.sub("", str(text))
