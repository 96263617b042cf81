"""What people say to a card: a reaction, a word or two, an emoji of any skin; and which choice that is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from roommate.chat.texts import AGAIN, ALWAYS, NO, YES

_SAID = {
    YES: frozenset({YES, "👍", "✔", "☑", "yes", "y", "yes please", "allow"}),
    NO: frozenset({NO, "👎", "✖", "no", "n", "no thanks", "deny", "refuse"}),
    ALWAYS: frozenset({ALWAYS, "always", "yes always", "allow always"}),
    AGAIN: frozenset({AGAIN, "go on"}),
}
_DRESSING = re.compile("[\ufe0e\ufe0f\u200d\u2640\u2642\U0001f3fb-\U0001f3ff]")
"""How an emoji is shown, and of which skin."""
_AROUND = " \t\r\n.,!\"'`*_“”‘’"


def bare(key: str) -> str:
    """A choice as it is compared: without what says how it is shown."""
    return _DRESSING.sub("", key)


def choice_of(text: str, choices: Collection[str]) -> str | None:
    """Which of these choices a reaction, or all that somebody wrote, means; None where it means none of them."""
    if len(text) > 40:
        return None
    said = " ".join(bare(text).casefold().replace(",", " ").strip(_AROUND).split())
    if not said:
        return None
    return next((choice for choice in choices if said == bare(choice) or said in _SAID.get(choice, ())), None)


def is_choice(text: str) -> bool:
    """Could this be an answer to some card?"""
    return choice_of(text, _SAID) is not None


def words(choices: Sequence[str]) -> str:
    """What to write instead of tapping, for people who have no reactions at hand."""
    names = {YES: "yes", NO: "no", ALWAYS: "always", AGAIN: "go on"}
    known = [f"“{names[choice]}”" for choice in choices if choice in names]
    return f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else "".join(known)
