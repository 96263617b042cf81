"""Who may replace a room, and what room is its replacement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import JsonObject, RoomId
from roommate.matrix.power_levels import may_replace, replaces

ALICE, BOB = "@alice:x", "@bob:x"
OLD = RoomId("!old")


def create(version: str | None = "11", **content: object) -> JsonObject:
    return {"sender": ALICE, "content": ({"room_version": version} if version else {}) | content}


@pytest.mark.parametrize(
    ("user", "made", "levels", "may"),
    [
        (ALICE, create(), {"users": {ALICE: 100}, "events": {"m.room.tombstone": 100}}, True),
        (BOB, create(), {"users": {ALICE: 100, BOB: 99}, "events": {"m.room.tombstone": 100}}, False),
        (BOB, create(), {"users": {BOB: 50}}, True),
        (BOB, create(), {"users_default": 49}, False),
        (BOB, create(), {"users": {BOB: "50"}, "state_default": "50"}, True),
        (BOB, create(), {"users": {BOB: 100}, "events": {"m.room.tombstone": []}}, True),
        (BOB, create(), {"users": {BOB: []}}, False),
        (ALICE, create(), {}, True),
        (ALICE, create("11", creator=[]), {}, True),
        (BOB, create("11", creator={"a": BOB}), {}, False),
        (BOB, create("12", additional_creators=[[BOB], {}]), {"users": {BOB: 49}}, False),
        (BOB, create(), {}, False),
        (ALICE, create("11"), {"users": {BOB: 100}}, False),
        (ALICE, create("12"), {"users": {BOB: 100}}, True),
        (BOB, create("12", additional_creators=[BOB]), {"events": {"m.room.tombstone": 150}}, True),
        (BOB, create("12"), {"users": {BOB: 100}, "events": {"m.room.tombstone": 150}}, False),
    ],
)
def test_who_may_replace_a_room(user: str, made: JsonObject, levels: JsonObject, may: bool) -> None:
    assert may_replace(user, made, levels) is may


@pytest.mark.parametrize(
    ("made", "does"),
    [
        (create(predecessor={"room_id": OLD, "event_id": "$end"}), True),
        (create(predecessor={"room_id": OLD, "event_id": "$other"}), False),
        (create(predecessor={"room_id": "!other", "event_id": "$end"}), False),
        (create(predecessor={"room_id": OLD}), False),
        (create("12", predecessor={"room_id": OLD}), True),
        (create("12", predecessor={"room_id": OLD, "event_id": "$other"}), False),
        (create(), False),
        ({}, False),
    ],
)
def test_what_replaces_a_room(made: JsonObject, does: bool) -> None:
    assert replaces(made, OLD, "$end") is does


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["users", "events", "content", ALICE]), inner),
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), json), st.dictionaries(st.sampled_from(["users", "events", "state_default"]), json))
def test_whatever_a_room_says_is_an_answer(made: JsonObject, levels: JsonObject) -> None:
    assert may_replace(BOB, made, levels) in (True, False)
    assert replaces(made, OLD, "$end") in (True, False)
