"""The envelope: what is signed is all of it, what is read is right or Malformed, and nothing else happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from signedjson.sign import sign_json

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Forged, Malformed
from tests.mesh.peer import new_key, public_of, request

KEY, OTHER = new_key(), new_key()
ANN, ROOM = "@ann:example.org", "!room:example.org"
ASKED = request(KEY, ANN, ROOM, public_of(OTHER), "exec", argv=["make", "test"], timeout=60)
CONTENT = envelope.sign(KEY, ASKED)


def judged(content: Any) -> None:
    """Raises Malformed or Forged where it is not wholly right."""
    asked = envelope.read_request(content)
    envelope.verify(content, asked.origin, asked.sender)


def test_what_is_signed_is_read_again() -> None:
    shuffled = dict(reversed(json.loads(json.dumps(CONTENT)).items()))
    for content in (CONTENT, shuffled):
        judged(content)
        assert envelope.read_request(content) == ASKED
    assert envelope.digest(envelope.read_request(shuffled)) == envelope.digest(ASKED)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ASKED)])
def test_each_field_is_bound(name: str) -> None:
    others: dict[str, Any] = {
        "v": 2,
        "type": envelope.REPLY,
        "params": {"argv": ["make", "tests"], "timeout": 60},
        "origin": public_of(OTHER),
        "target": public_of(KEY),
        "id": envelope.new_id(),
        "nonce": envelope.new_nonce(),
        "method": "ping",
        "room_id": "!other:example.org",
        "sender": "@eve:example.org",
        "issued": ASKED.issued + 1,
        "expires": ASKED.expires + 1,
    }
    for wrong in (CONTENT | {name: others[name]}, {key: one for key, one in CONTENT.items() if key != name}):
        with pytest.raises((Malformed, Forged)):
            judged(wrong)


def resigned(**changes: Any) -> dict[str, Any]:
    """Another content that its key has signed as it is."""
    return dict(sign_json({key: one for key, one in (CONTENT | changes).items() if key != "signatures"}, ANN, KEY))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": True}, "v"),
        ({"v": 1.0}, "float"),
        ({"issued": 1.5}, "float"),
        ({"issued": True}, "issued"),
        ({"issued": -1}, "issued"),
        ({"issued": 2**53}, "53 bits"),
        ({"params": {"x": 2**60}}, "53 bits"),
        ({"params": {"x": 0.1}}, "float"),
        ({"params": []}, "params"),
        ({"params": {"x": "a" * 50_000}}, "bytes"),
        ({"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}, "m.relates_to"),
        ({"m.new_content": {}}, "m.new_content"),
        ({"surprise": None}, "surprise"),
        ({"id": "not a ulid"}, "id"),
        ({"nonce": "short"}, "nonce"),
        ({"nonce": "a" * 22 + "\n"}, "nonce"),
        ({"origin": public_of(KEY) + "="}, "origin"),
        ({"sender": "ann"}, "sender"),
        ({"room_id": "#alias:example.org"}, "room_id"),
        ({"method": "exec\x00"}, "method"),
    ],
)
def test_what_is_not_of_this_shape_is_malformed_however_well_it_is_signed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        judged(resigned(**changes))


def test_what_json_of_matrix_has_not_is_malformed() -> None:
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    wide = [0] * 30_000
    for params in ({"x": deep}, {"x": wide}, {"x": "\ud800"}):
        with pytest.raises(Malformed):
            judged(CONTENT | {"params": params})


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        {},
        [],
        "x",
        {ANN: None},
        {ANN: {}},
        {ANN: {"ed25519:x": "y"}},
        {ANN: {f"ed25519:{envelope.key_id(public_of(KEY))}": None}},
        {ANN: {f"ed25519:{envelope.key_id(public_of(KEY))}": ""}},
        {ANN: {f"ed25519:{envelope.key_id(public_of(KEY))}": "A" * 86}},
        {ANN: {f"none:{envelope.key_id(public_of(KEY))}": next(iter(CONTENT["signatures"][ANN].values()))}},
        {ANN: CONTENT["signatures"][ANN] | {"ed25519:more": "A" * 86}},
        {"@eve:example.org": CONTENT["signatures"][ANN]},
        CONTENT["signatures"] | {"@eve:example.org": CONTENT["signatures"][ANN]},
    ],
)
def test_one_signature_by_the_key_in_the_senders_name_or_none(signatures: Any) -> None:
    with pytest.raises((Malformed, Forged)):
        judged(CONTENT | {"signatures": signatures})


def test_another_key_has_not_signed_it() -> None:
    with pytest.raises(Forged):
        envelope.verify(CONTENT, public_of(OTHER), ANN)
    with pytest.raises(Forged):
        envelope.verify(CONTENT, public_of(KEY), "@eve:example.org")


def test_a_message_is_a_link_of_its_chain() -> None:
    first = envelope.next_chain(envelope.digest(ASKED), {"kind": "started"})
    second = envelope.next_chain(first, {"kind": "output", "stream": "out", "data": "aGk"})
    swapped = envelope.next_chain(envelope.digest(ASKED), {"kind": "output", "stream": "out", "data": "aGk"})
    assert len({first, second, swapped, envelope.next_chain(swapped, {"kind": "started"})}) == 4
    message = envelope.Message(
        envelope.REPLY, ROOM, ANN, public_of(KEY), public_of(OTHER), ASKED.id, envelope.digest(ASKED), 0, first,
        {"kind": "started"},
    )  # fmt: skip
    content = envelope.sign(KEY, message)
    assert envelope.read_message(content) == message
    assert message.kind == "started"
    with pytest.raises(Malformed):
        envelope.read_message(envelope.sign(KEY, dataclasses.replace(message, body={"no": "kind"})))
    with pytest.raises(Malformed):
        envelope.read_request(content)


def test_ids_sort_by_time_and_are_no_two_alike() -> None:
    found = [envelope.new_id() for _ in range(100)]
    assert len(set(found)) == 100
    assert all(abs(_time_of(one) - time.time() * 1000) < 3_600_000 for one in found)


def _time_of(ulid: str) -> int:
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for one in ulid[:10]:
        value = value * 32 + digits.index(one)
    return value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@example({"signatures": {}})
def test_whatever_comes_is_malformed_and_no_crash(content: Any) -> None:
    with pytest.raises(Malformed):
        envelope.read_request(content)
    for read in (envelope.read_message, envelope.read_introduction):
        with pytest.raises(Malformed):
            read(content)


@given(st.sampled_from(sorted(CONTENT)), JSON)
def test_a_field_of_anything_is_refused_and_no_crash(name: str, value: Any) -> None:
    if value == CONTENT[name]:
        return
    with pytest.raises((Malformed, Forged)):
        judged(CONTENT | {name: value})


@given(JSON)
def test_canonical_json_says_the_same_to_every_reader(value: Any) -> None:
    with contextlib.suppress(Malformed):
        assert json.loads(envelope.canonical(value)) == value
