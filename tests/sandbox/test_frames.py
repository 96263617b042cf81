"""The stream's frames: whatever is cut however comes out as it went in, and nonsense is known as such."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.sandbox.inside.flow_control import Incoming, Outgoing
from roommate.sandbox.inside.frames import (
    CALL,
    COST,
    HELLO,
    MAX_FRAME,
    WINDOW,
    BadFrame,
    Frames,
    credit,
    credited,
    frame,
)

FRAMES = st.lists(st.tuples(st.integers(CALL, HELLO), st.integers(0, 0xFFFFFFFF), st.binary(max_size=300)), max_size=20)


@given(FRAMES, st.lists(st.integers(0, 3000)))
def test_frames_come_out_as_they_went_in(frames: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(*one) for one in frames)
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    reader = Frames()
    got = [one for start, end in itertools.pairwise(edges) for one in reader.feed(stream[start:end])]
    assert [(kind, call, bytes(payload)) for kind, call, payload in got] == frames


@given(st.binary(max_size=2000))
def test_anything_is_frames_or_bad_and_never_more_than_came(stream: bytes) -> None:
    try:
        got = list(Frames().feed(stream))
    except BadFrame:
        return
    assert sum(9 + len(payload) for _, _, payload in got) <= len(stream)


def test_too_long_is_known_before_it_is_read() -> None:
    header = frame(CALL, 1, b"")[:5] + (MAX_FRAME + 1).to_bytes(4, "big")
    with pytest.raises(BadFrame):
        list(Frames().feed(header))


@given(st.integers(0, 0xFFFFFFFF))
def test_credit(size: int) -> None:
    ((_, call, payload),) = Frames().feed(credit(7, size))
    assert (call, credited(payload)) == (7, size)
    with pytest.raises(BadFrame):
        credited(payload[:-1])


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 1 << 20)), max_size=50))
def test_a_sender_fills_the_window_and_goes_on_when_it_is_used(steps: list[tuple[int, int]]) -> None:
    """Whatever is sent and used when: never is more held than the window, and who has used all is sent more."""
    outgoing, given = Outgoing(), bytearray()
    incoming = Incoming(7, given.extend)
    frames = Frames()
    for send, use in steps:
        while send and (room := outgoing.room):
            size = min(send, room)
            outgoing.sent(size)
            incoming.came(size)
            send -= size
        assert incoming.held <= WINDOW
        assert not send or outgoing.room == 0
        incoming.used(min(use, incoming.held))
        for _, _, payload in frames.feed(bytes(given)):
            outgoing.credited(payload)
        given.clear()
        assert incoming.held or outgoing.room


def test_what_is_beyond_the_window_is_known() -> None:
    incoming = Incoming(7, lambda _: None)
    incoming.came(WINDOW - COST)
    with pytest.raises(BadFrame):
        incoming.came(1)
    with pytest.raises(BadFrame):
        Incoming(7, lambda _: None).came(0)
    with pytest.raises(BadFrame):
        Outgoing().credited(bytearray((1).to_bytes(4, "big")))
    outgoing = Outgoing()
    outgoing.sent(100)
    outgoing.credited(bytearray((100 + COST).to_bytes(4, "big")))
    with pytest.raises(BadFrame):
        outgoing.credited(bytearray(4))
