"""What counts of a peer's reply, whatever the way does to it: doubled, reordered, lost, changed, moved elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roommate.domain import RoomId, UserId
from roommate.features.mesh.envelope import INPUT, REPLY, Forged, Message, next_chain
from roommate.features.mesh.reply_checks import FARTHEST, Bound, Piece, Position, advance, belongs, is_wanted

DIGEST = "ab" * 32
START = Position(0, DIGEST)
ROOM, PEER = RoomId("!r:x"), UserId("@builder:x")
OURS, THEIRS = "A" * 43, "B" * 42 + "A"
BOUND = Bound("0" * 26, DIGEST, ROOM, OURS, THEIRS, PEER)
MESSAGE = Message(REPLY, ROOM, PEER, THEIRS, OURS, BOUND.id, DIGEST, 0, DIGEST, {"kind": "started"})

bodies = st.lists(
    st.fixed_dictionaries({"kind": st.sampled_from(["held", "started", "output"]), "data": st.text(max_size=5)}),
    max_size=12,
).map(lambda some: [*some, {"kind": "result", "exit": 0}])


def chained(some: list[dict[str, object]]) -> list[Piece]:
    chain, pieces = DIGEST, []
    for body in some:
        chain = next_chain(chain, body)
        pieces.append(Piece(chain, body))
    return pieces


@settings(max_examples=25)
@given(bodies, st.data())
def test_in_whatever_order_and_however_often_it_comes_it_counts_once_and_in_order(
    sent: list[dict[str, object]], data: st.DataObject
) -> None:
    pieces = chained(sent)
    order = data.draw(st.permutations([*range(len(pieces)), *range(len(pieces))]))
    position, there, taken, ends = START, dict[int, Piece](), list[object](), 0
    for seq in order:
        if is_wanted(seq, position):
            there[seq] = pieces[seq]
            step = advance(position, there)
            assert not step.broken
            position, ends = step.position, ends + step.ended
            taken += step.taken
    assert taken == sent
    assert ends == 1
    assert position == Position(len(sent), pieces[-1].chain)


@settings(max_examples=25)
@given(bodies, st.data())
def test_what_was_left_out_is_waited_for_and_nothing_behind_it_counts(
    sent: list[dict[str, object]], data: st.DataObject
) -> None:
    pieces = chained(sent)
    lost = data.draw(st.integers(0, len(sent) - 1))
    step = advance(START, {seq: piece for seq, piece in enumerate(pieces) if seq != lost})
    assert list(step.taken) == sent[:lost]
    assert step.position.seq == lost
    assert not step.ended
    assert not step.broken


@settings(max_examples=25)
@given(bodies, st.data())
def test_a_piece_in_anothers_place_is_seen(sent: list[dict[str, object]], data: st.DataObject) -> None:
    pieces = chained(sent)
    at = data.draw(st.integers(0, len(sent) - 1))
    there = dict(enumerate(pieces))
    there[at] = replace(there[at], body={"kind": "output", "data": "something else"})
    step = advance(START, there)
    assert step.broken
    assert list(step.taken) == sent[:at]


def test_what_lies_too_far_ahead_is_not_kept() -> None:
    assert is_wanted(FARTHEST - 1, START)
    assert not is_wanted(FARTHEST, START)
    assert not is_wanted(3, Position(4, DIGEST))


def test_the_piece_of_this_request_belongs_to_it() -> None:
    belongs(MESSAGE, BOUND, PEER, ROOM)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": INPUT},
        {"room_id": "!other:x"},
        {"sender": "@mallory:x"},
        {"origin": OURS},
        {"target": THEIRS},
        {"request": "1" * 26},
        {"digest": "cd" * 32},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_piece_of_something_else_does_not(changed: dict[str, str]) -> None:
    with pytest.raises(Forged, match=next(iter(changed))):
        belongs(replace(MESSAGE, **changed), BOUND, PEER, ROOM)  # type: ignore[arg-type]


def test_nor_does_a_copy_that_somebody_else_sends_or_sends_elsewhere() -> None:
    for sender, room in ((UserId("@mallory:x"), ROOM), (PEER, RoomId("!other:x"))):
        with pytest.raises(Forged, match="somebody else"):
            belongs(MESSAGE, BOUND, sender, room)
