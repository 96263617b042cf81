"""Glob patterns over paths."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Pattern


MOST = 100
"""Patterns that one with braces may stand for."""


class Glob:
    """A pattern over paths: ``*`` and ``?`` stay within a name, ``**`` crosses folders, ``{a,b}`` is either. Without a
    slash it is about the last name, at any depth, as in ``.gitignore``."""

    def __init__(self, pattern: str) -> None:
        self._any = [_Pattern(one) for one in _braces(pattern)]

    def matches(self, path: str) -> bool:
        names = path.split("/")
        return any(one.matches(names) for one in self._any)


def _braces(pattern: str) -> list[str]:
    """All that it stands for; with more than MOST of them braces are what they are."""
    if "{" not in pattern:
        return [pattern]
    import re

    innermost = re.compile(r"\{([^{}]*)\}")
    patterns = [pattern]
    while found := innermost.search(patterns[0]):  # all of them have the same braces
        options = found[1].split(",")
        if len(patterns) * len(options) > MOST:
            return [pattern]
        made = [(one, innermost.search(one)) for one in patterns]
        patterns = [one[: at.start()] + option + one[at.end() :] for one, at in made if at for option in options]
    return patterns


class _Pattern:
    def __init__(self, pattern: str) -> None:
        import fnmatch  # here, because it is rarely needed and costs a millisecond
        import re

        parts = pattern.removeprefix("./").strip("/").split("/")
        if len(parts) == 1 and not pattern.startswith("/"):
            parts.insert(0, "**")
        self._parts: list[Pattern[str] | None] = [
            None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts
        ]

    def matches(self, names: list[str]) -> bool:
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
