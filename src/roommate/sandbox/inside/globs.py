"""Glob patterns over paths."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Pattern


class Glob:
    """A pattern over paths: ``*`` and ``?`` stay within a name, ``**`` crosses folders. Without a slash it is about the
    last name, at any depth, as in ``.gitignore``."""

    def __init__(self, pattern: str) -> None:
        import fnmatch  # here, because it is rarely needed and costs a millisecond
        import re

        parts = pattern.removeprefix("./").strip("/").split("/")
        if len(parts) == 1:
            parts.insert(0, "**")
        self._parts: list[Pattern[str] | None] = [
            None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts
        ]

    def matches(self, path: str) -> bool:
        names = path.split("/")
        part = name = 0
        star: tuple[int, int] | None = None
        while name < len(names):
            pattern = self._parts[part] if part < len(self._parts) else None
            if part < len(self._parts) and pattern is None:
                star = (part, name)
                part += 1
            elif pattern is not None and pattern.match(names[name]):
                part, name = part + 1, name + 1
            elif star is not None:
                star = (star[0], star[1] + 1)
                part, name = star[0] + 1, star[1]
            else:
                return False
        return all(rest is None for rest in self._parts[part:])
