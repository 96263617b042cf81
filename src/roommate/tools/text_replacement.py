"""Replacing one piece of a file, and telling a model precisely why it could not be done."""

from __future__ import annotations

import re

from roommate.errors import ToolError

NEARBY = 3
"""Lines shown around a place."""
PLACES = 5
LONGEST_LINE = 200
COMPARED = 20_000
"""Lines of a file that are compared with what was looked for."""


def replace_once(content: bytes, old: str, new: str, path: str) -> tuple[bytes, int]:
    """The new content, and the line (from 1) where it changed. Raises ToolError unless `old` is there exactly once.

    A file whose lines end in CRLF may be asked for with plain ends of lines, as models write them.
    """
    if old == new:
        raise ToolError("old and new are the same: nothing would change")
    before, after = old.encode("utf-8", "replace"), new.encode("utf-8", "replace")
    if before not in content and b"\r\n" in content and b"\r" not in before:
        before, after = before.replace(b"\n", b"\r\n"), after.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    places = _places(content, before)
    many = max(len(places), content.count(before))
    if not places:
        raise ToolError(f"old is not in {path}.{_near(content, old)}", "it must match exactly, with all its spaces")
    if len(places) > 1:
        lines = [content.count(b"\n", 0, place) + 1 for place in places]
        more = f" and {many - len(places)} more" if many > len(places) else ""
        shown = "\n".join(_lines(content, line, 1) for line in lines)
        raise ToolError(
            f"old is {many} times in {path}, at lines {', '.join(map(str, lines))}{more}\n{shown}",
            "give more of what is around the one you mean",
        )
    (place,) = places
    return content[:place] + after + content[place + len(before) :], content.count(b"\n", 0, place) + 1


def _places(content: bytes, piece: bytes) -> list[int]:
    """The first PLACES; they may overlap."""
    places: list[int] = []
    place = content.find(piece)
    while place >= 0 and len(places) < PLACES:
        places.append(place)
        place = content.find(piece, place + 1)
    return places


def _near(content: bytes, old: str) -> str:
    """The lines that look most like the first line of what was looked for."""
    wanted = next((line.strip() for line in old.splitlines() if line.strip()), "")
    words = set(re.findall(r"\w+", wanted))
    best, at = 0.0, 0
    for number, raw in enumerate(content.split(b"\n", COMPARED)[:COMPARED], 1):
        line = raw.decode("utf-8", "replace").strip()
        if wanted and line == wanted:
            best, at = 2.0, number
            break
        found = set(re.findall(r"\w+", line))
        if words and found and (alike := len(words & found) / len(words | found)) > best:
            best, at = alike, number
    if best < 0.4:
        return " Read the file first."
    return f" The nearest is at line {at}:\n{_lines(content, at, NEARBY)}"


def _lines(content: bytes, at: int, around: int) -> str:
    """Some lines with their numbers."""
    lines = content.split(b"\n")
    first = max(1, at - around)
    shown = [line.decode("utf-8", "replace").rstrip("\r")[:LONGEST_LINE] for line in lines[first - 1 : at + around]]
    return "\n".join(f"{number:>6}: {line}" for number, line in enumerate(shown, first))
