"""Is somebody called by name? People do so at the start of a sentence: "Robin, look", "hey robin can you …"; who only
talks about them does not: "my robin said …", "Robin was here"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

MOST = 8000
"""Characters of a text in which a name is looked for."""

OPENINGS = (
    "hey", "hi", "hello", "hallo", "hej", "hola", "salut", "yo", "ok", "okay", "alright", "dear", "please", "so",
    "well", "now", "and", "but", "also", "thanks", "thank you", "good morning", "good evening", "morning",
)  # fmt: skip
"""What may stand in a sentence before the name of whom it calls."""

_TALK = "said|says|told|tells|thinks|thought|wrote|writes|seems|looks|works|and|or|just"
"""Behind a bare name it tells of somebody, unless it is a question."""
_VERBS = (
    "isn't|wasn't|hasn't|hadn't|doesn't|didn't|won't|wouldn't|can't|couldn't|is|was|are|were|has|had|does|did|will|"
    "would|can|could|should|may|might|must"
)
"""So do these, unless they begin a question: "Robin can you …", "Robin is it done"."""
_REPORT = re.compile(rf"\s+(?:(?:{_TALK})\b|(?:{_VERBS})\b(?!\s+(?:you|u|ya|we|i|it)\b))", re.IGNORECASE)

_SENTENCE_END = re.compile(r"(?<![.!?…])([.!?…]+)[\"')\]]*\s|\n")
_CALL_END = re.compile(r"[:,;–—\s]*(?:[.…!?]+(?=\s|$))?\s*")
"""A ``!`` before a word is a command's."""


def called(text: str, names: Sequence[str]) -> bool:
    """Does a sentence of the text begin with one of these names, as a call?"""
    return any(_call(sentence, asks, names) is not None for sentence, asks in _sentences(text[:MOST]))


def without_call(text: str, names: Sequence[str]) -> str:
    """The text without the call that it begins with (``Robin: do it`` → ``do it``)."""
    end = _call(*next(_sentences(text[:MOST])), names)
    return text if end is None else _CALL_END.sub("", text.lstrip()[end:], count=1)


def _sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Each without the blanks before it, and whether it asks; the first one is there even when it is empty."""
    text = text.strip()
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield text[start : end.end()].lstrip(), "?" in (end[1] or "")
        start = end.end()
    yield text[start:].lstrip(), text.endswith("?")


def _call(sentence: str, asks: bool, names: Sequence[str]) -> int | None:
    """Where the call at the start of a sentence ends, None where there is none."""
    found = _pattern(tuple(names)).match(sentence) if names else None
    if found is None or (not found["marked"] and not asks and _REPORT.match(sentence, found.end())):
        return None
    return found.end()


@lru_cache(maxsize=8)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Behind a marked name (``@robin``, ``@robin:example.org``) anything but more of a name may stand, behind a bare
    one the end, a comma or the like, or another word."""
    longest_first = sorted((re.escape(name.removeprefix("@")) for name in names), key=len, reverse=True)
    either = "|".join(longest_first)
    return re.compile(
        rf"(?:(?:{'|'.join(OPENINGS)})\b[,!]*[ \t]+){{0,2}}"
        rf"(?:(?P<marked>@(?:{either})(?![\w@-]|[.:]\w))|(?:{either})(?=[:,;!?…–—]|\.(?!\w)|\s|$))",
        re.IGNORECASE,
    )
