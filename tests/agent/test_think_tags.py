"""What a model thinks is never what it says, however its server cuts the text into pieces."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.think_tags import ThinkTags

PLAIN = "Use `<think>` and `</think>`: \n```\n<think>\n</think>\n```\nno thought."


def read(text: str, cuts: list[int]) -> tuple[str, str]:
    """(said, thought) of the text, cut at these places."""
    tags, said, thought, retracted = ThinkTags(), "", "", False
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        more, aside = tags.take(text[start:end])
        if tags.retracted and not retracted:
            said, thought, retracted = "", said, True
        said, thought = said + more, thought + aside
    return said + tags.end(), thought


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("<think>let me see</think>\n\nThe answer.", "The answer.", "let me see"),
        ("\n<thinking>a < b </thinking>x", "x", "a < b "),
        ("<think>never ended", "", "never ended"),
        ("it thinks first\n</think>\n\nThe answer.", "The answer.", "it thinks first"),
        (PLAIN, PLAIN, ""),
        ("<thi", "<thi", ""),
        ("<b>bold</b>", "<b>bold</b>", ""),
        ("a\n</thin", "a\n</thin", ""),
        ("", "", ""),
    ],
)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_tags_are_found_wherever_the_text_is_cut(text: str, said: str, thought: str, cuts: list[int]) -> None:
    assert read(text, cuts) == (said, thought)
    assert read(text, list(range(len(text)))) == (said, thought)


@given(text=st.text(alphabet="<>/think\n ab`", max_size=60), cuts=st.lists(st.integers(0, 60), max_size=12))
def test_nothing_depends_on_the_cuts(text: str, cuts: list[int]) -> None:
    assert read(text, cuts)[0] == read(text, [])[0]


def test_what_a_model_repeats_takes_no_longer_the_more_was_said() -> None:
    """Whatever stands in it: a model's words are nobody's."""

    def cpu(lines: int) -> float:
        tags, began = ThinkTags(), time.process_time()
        tags.take("begun\n```\n")
        for _ in range(lines):
            tags.take("`</think>\n</think>")
            tags.take("\n")
        return time.process_time() - began

    cpu(2_000)
    assert min(cpu(32_000) for _ in range(3)) < 24 * min(cpu(4_000) for _ in range(3))
