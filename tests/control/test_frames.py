"""Frames and requests, whatever pieces they come in and whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.control.frames import MOST_BYTES, Frames, TooLong, framed
from roommate.control.rpc import PARSE_ERROR, Flaw, Request, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ENVELOPES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON, "method": st.text(max_size=120) | JSON},
    optional={"params": JSON, "id": JSON, "more": JSON},
)


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(contents: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, contents))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames = Frames()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[start:end])
    assert found == contents
    assert not frames.unfinished


@given(st.integers(MOST_BYTES + 1, (1 << 32) - 1))
def test_a_frame_that_is_too_long_is_refused_by_its_length_alone(length: int) -> None:
    with pytest.raises(TooLong):
        list(Frames().feed(length.to_bytes(4, "big")))


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(TooLong):
        framed(bytes(MOST_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_requests_or_flaws(content: bytes) -> None:
    try:
        requests, _ = parse(content)
    except Flaw as flaw:
        assert flaw.code < 0
    else:
        assert all(isinstance(one, Request | Flaw) for one in requests)


@given(ENVELOPES | st.lists(ENVELOPES, max_size=3) | JSON)
def test_any_json_is_requests_or_flaws_whose_answer_is_json(said: Any) -> None:
    try:
        requests, is_batch = parse(json.dumps(said).encode())
    except Flaw as flaw:
        requests, is_batch = [flaw], False
    for one in requests:
        answer = one.response() if isinstance(one, Flaw) else one.response(None)
        assert json.loads(json.dumps(answer))["jsonrpc"] == "2.0"
    assert not is_batch or isinstance(said, list)


def test_a_nest_without_an_end_is_no_json() -> None:
    with pytest.raises(Flaw) as flaw:
        parse(b"[" * 1_000_000)
    assert flaw.value.code == PARSE_ERROR
