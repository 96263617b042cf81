"""What means which choice of a card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.chat.card_answers import choice_of, is_choice, words
from roommate.chat.texts import AGAIN, ALWAYS, NO, YES

THREE = (YES, ALWAYS, NO)


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        *[
            (said, YES)
            for said in ("✅", "✅\ufe0f", "👍", "👍🏻", "👍🏿\ufe0f", "yes", "Yes!", " YES. ", "✔️", "“yes”")
        ],
        *[(said, NO) for said in ("❌", "❌\ufe0f", "👎🏾", "no", "No…"[:2], "*no*", "no, thanks")],
        *[(said, ALWAYS) for said in ("♾", "♾️", "always", "Always.", "yes, always")],
        *[
            (said, None)
            for said in ("", " ", "yes but only once", "no idea", "🔁", "go on", "nope, never, not ever", "ok")
        ],
    ],
)
def test_what_is_meant(said: str, choice: str | None) -> None:
    assert choice_of(said, THREE) == choice


def test_what_is_not_offered_means_nothing() -> None:
    assert choice_of("always", (YES, NO)) is None
    assert is_choice("always")
    assert choice_of("go on", (AGAIN,)) == AGAIN
    assert choice_of("B", ("a", "b")) == "b"
    assert words(THREE) == "“yes”, “always” or “no”"
    assert (words((AGAIN,)), words(("x",))) == ("“go on”", "")


@given(st.text())
def test_whatever_is_said(said: str) -> None:
    assert choice_of(said, THREE) in (*THREE, None)
