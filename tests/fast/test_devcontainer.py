"""A devcontainer.json, whoever wrote it: what is read of it, and that nothing of it breaks the reader."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.features.room_settings.devcontainer import parse, without_comments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_commands_as_lines_lists_and_by_name() -> None:
    found = parse(
        """{ // a comment
        "image": "python:3.12", /* "image": "other" */
        "onCreateCommand": ["pip", "install", "a b"],
        "postCreateCommand": {"one": "make  // no comment", "two": ["echo", "*"]},
        "forwardPorts": [80, "db:5432",],
        "build": {"dockerfile": "Dockerfile"}, }"""
    )
    assert found.image == "python:3.12"
    assert found.setup.splitlines() == ["pip install 'a b'", "make  // no comment", "echo '*'"]
    assert (found.ports, found.passed_over) == (["80", "db:5432"], ["build"])


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"image": 3}', '{"image": "a b"}', '{"postCreateCommand": 3}', '{"forwardPorts": {}}',
        "[" * 9999, '{"postCreateCommand": "' + "x" * 9000 + '"}', '"' * 60_001, "/*" * 30_000, '"\\\\' * 20_000,
    ],
)  # fmt: skip
def test_what_is_none_is_said_and_no_more(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(text)


@pytest.mark.parametrize("text", ['"' + '\\"' * 8_000, "/*a" * 20_000, ",  " * 20_000])
def test_what_has_no_end_is_looked_at_once(text: str) -> None:
    began = time.thread_time()
    without_comments(text)
    assert time.thread_time() - began < 0.5


@given(JSON)
def test_json_stays_what_it_is(value: object) -> None:
    for indent in (None, 2):
        assert json.loads(without_comments(json.dumps(value, indent=indent))) == value


@given(
    st.dictionaries(st.sampled_from(["image", "postCreateCommand", "onCreateCommand", "forwardPorts", "build"]), JSON)
)
def test_whatever_stands_there_is_read_or_refused(fields: dict[str, object]) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse(json.dumps(fields)).setup, str)
