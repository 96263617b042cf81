"""What a homeserver answers is read, however deep one of its events is."""

from __future__ import annotations

import json

import pytest

from roommate.matrix import json_answers


@pytest.mark.parametrize("depth", [10, 900, 5000, 200_000])
@pytest.mark.parametrize(("begins", "ends"), [("[", "]"), ('{"a\\\\\\"[{":', "}")])
def test_one_deep_event_keeps_none_of_the_others_away(depth: int, begins: str, ends: str) -> None:
    deep = begins * depth + '"]}[{"' + ends * depth
    content = f'{{"before": "\\u00e4 \\"[[{{", "deep": [{deep}, 7, {deep}], "behind": {{"x": [1]}}}}'.encode()
    found = json_answers.read(content)
    assert (found["before"], found["deep"][1], found["behind"]) == ('ä "[[{', 7, {"x": [1]})
    if depth == 10:
        assert found == json.loads(content)


def test_one_long_number_keeps_none_of_the_others_away() -> None:
    """Rooms of old versions may have one (the canonical JSON of the specification is of version 6 and later)."""
    long = "9" * 5000
    found = json_answers.read(f'{{"a": 1, "long": [{long}, -{long}, "{long}", 12, 1.5], "b": {2**70}}}'.encode())
    assert found == {"a": 1, "long": [None, None, long, 12, 1.5], "b": 2**70}


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\\\ud83d\\udc00", "\\udc00\\ud83d"])
def test_half_a_character_is_a_mark(half: str) -> None:
    """Not all homeservers keep it out, and SQLite does not take it."""
    content = f'{{"a": "{half}", "b": ["\\ud83d\\ude00", "é"], "{half}": 1}}'.encode()
    found = json_answers.read(content)
    assert found["b"] == ["😀", "é"]
    assert "?" in json.dumps(found, ensure_ascii=False).encode().decode()
    deep = json_answers.read(b'{"deep": ' + b"[" * 900 + b"]" * 900 + b", " + content[1:])
    assert deep["b"] == ["😀", "é"]


@pytest.mark.parametrize("other", [b"", b"<html>", b"[1]", b'"x"', b"\xff", b"[" * 5000, b'{"a":' * 5000 + b"]" * 5000])
def test_what_is_no_object_is_an_empty_one(other: bytes) -> None:
    assert json_answers.read(other) == {}
