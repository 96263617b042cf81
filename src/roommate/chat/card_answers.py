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


KEYCAPS = tuple(f"{digit}\ufe0f\u20e3" for digit in range(1, 10))
"""Choices that are numbers."""
_CAP = "\u20e3"
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


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
    for choice in choices:
        if said in (bare(choice), bare(choice).removesuffix(_CAP)) or said in _SAID.get(choice, ()):
            return choice
    return None


def spelled(choice: str, question: str) -> str:
    """What a choice that is a number stands for, in the Markdown of the question; any other as it is."""
    if not choice.endswith(_CAP):
        return choice
    lines = (line for line in question.splitlines() if bare(line).startswith(bare(choice)))
    return _ESCAPE.sub(r"\1", next((bare(line).removeprefix(bare(choice)).strip() for line in lines), choice))


def is_choice(text: str) -> bool:
    """Could this be an answer to some card?"""
    return choice_of(text, _SAID) is not None


def words(choices: Sequence[str]) -> str:
    """What to write instead of tapping, for people who have no reactions at hand."""
    names = {YES: "yes", NO: "no", ALWAYS: "always", AGAIN: "go on"}
    names |= {choice: choice[0] for choice in choices if choice.endswith(_CAP)}
    known = [f"“{names[choice]}”" for choice in choices if choice in names]
    return f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else "".join(known)
