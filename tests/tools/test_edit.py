"""Replacing one piece of a file exactly, or saying precisely why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.errors import ToolError
from roommate.tools.text_replacement import replace_once

FILE = b"def one():\n    return 1\n\n\ndef two():\n    return 2\n"


def test_one_place_is_replaced() -> None:
    assert replace_once(FILE, "return 2", "return 3", "a.py") == (FILE.replace(b"2", b"3"), 6)
    assert replace_once(FILE, "\n\n\n", "\n\n", "a.py")[1] == 2
    assert replace_once(b"\xff\xfe latin", "latin", "ä", "a") == (b"\xff\xfe \xc3\xa4", 1)


def test_windows_lines_stay_windows_lines() -> None:
    assert replace_once(b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\r\nz", "f") == (b"x\r\ny\r\nz\r\nc\r\n", 1)
    assert replace_once(b"a\r\nb\n", "b\n", "c\n", "f") == (b"a\r\nc\n", 2)


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ("return", ["old is 2 times in a.py, at lines 2, 6", "     2:     return 1", "     6:     return 2"]),
        ("def  two():", ["old is not in a.py", "nearest is at line 5", "     5: def two():", "     6:     return 2"]),
        ("\treturn 2", ["nearest is at line 6"]),
        ("class Nothing", ["old is not in a.py", "Read the file first"]),
        ("   \n ", ["old is not in a.py", "Read the file first"]),
    ],
)
def test_else_it_is_said_why_not(old: str, says: list[str]) -> None:
    with pytest.raises(ToolError) as error:
        replace_once(FILE, old, "x", "a.py")
    for part in says:
        assert part in str(error.value)


def test_nothing_to_do_is_an_error() -> None:
    with pytest.raises(ToolError, match="the same"):
        replace_once(FILE, "one", "one", "a.py")


def test_places_that_overlap_are_two() -> None:
    with pytest.raises(ToolError, match="2 times"):
        replace_once(b"aaa", "aa", "b", "f")


def test_very_many_places_are_counted_and_take_no_time() -> None:
    with pytest.raises(ToolError, match=r"4000000 times.*and 3999995 more"):
        replace_once(b"a\n" * 4_000_000, "a", "b", "f")


@given(st.binary(max_size=200), st.text(min_size=1, max_size=4), st.text(max_size=4), st.binary(max_size=200))
def test_what_is_around_stays(before: bytes, old: str, new: str, after: bytes) -> None:
    content = before + old.encode() + after
    try:
        changed, line = replace_once(content, old, new, "f")
    except ToolError:
        assert old == new or sum(content.startswith(old.encode(), at) for at in range(len(content))) > 1
        return
    assert changed == before + new.encode() + after
    assert line == before.count(b"\n") + 1
