"""What an operator should know of another release: its part of the changelog, and the settings that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHANGELOG, EXAMPLE = "CHANGELOG.md", ".env.example"
MOST_ITEMS, LONGEST_ITEM = 12, 300
MOST_SETTINGS = 20

_ITEM = re.compile(r"[-*+] +(\S.*)")
_SETTING = re.compile(r"#?([A-Z][A-Z0-9_]*)=")


@dataclass(frozen=True, slots=True)
class Notes:
    """All of it is a stranger's text, one line each."""

    changes: Sequence[str] = ()
    """Items of the changelog that were not in it before, without the Markdown of the list."""
    more: int = 0
    """How many others there are."""
    new_settings: Sequence[str] = ()
    """``NAME: what it is``"""
    gone_settings: Sequence[str] = ()


def notes(old_changelog: str, changelog: str, old_example: str, example: str) -> Notes:
    """From the texts of CHANGELOG.md and .env.example in two releases; an empty one says nothing.

    Items are compared, not lines or headings: a heading changes when what was unreleased gets its number.
    """
    known = set(_items(old_changelog))
    fresh = [item for item in dict.fromkeys(_items(changelog)) if item not in known] if known else []
    old, new = _settings(old_example), _settings(example)
    come = [f"{name}: {about}" if about else name for name, about in new.items() if name not in old] if old else []
    gone = [name for name in old if name not in new] if new else []
    return Notes(
        [_cut(item) for item in fresh[:MOST_ITEMS]],
        max(0, len(fresh) - MOST_ITEMS),
        [_cut(line) for line in come[:MOST_SETTINGS]],
        gone[:MOST_SETTINGS],
    )


def _items(text: str) -> Iterator[str]:
    """Each item of a list at the left margin, with its further lines, in one line."""
    item: list[str] = []
    for line in (*text.splitlines(), ""):
        begins = _ITEM.match(line)
        if item and (begins or not line.startswith("  ")):
            yield " ".join(item)
            item = []
        if begins:
            item = [begins[1].strip()]
        elif item:
            item.append(line.strip())


def _settings(text: str) -> dict[str, str]:
    """What each setting is, by its name: the comment above it."""
    found, about = {}, ""
    for line in text.splitlines():
        if match := _SETTING.match(line):
            found[match[1]] = about
            about = ""
        else:
            about = line.removeprefix("#").strip() if line.startswith("# ") else ""
    return found


def _cut(text: str) -> str:
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= LONGEST_ITEM else f"{text[: LONGEST_ITEM - 1]}…"
