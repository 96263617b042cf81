"""Verifications between two of us, without a homeserver: in step, both at once, and with somebody in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import JsonObject, RoomId
from roommate.matrix.crypto import short_auth_string as sas
from roommate.matrix.crypto.short_auth_string import Side
from roommate.matrix.crypto.signing import SigningKey
from roommate.matrix.crypto.verification import Cancelled, Stage, Verification

ANN, BOT = "@ann:localhost", "@bot:localhost"


def side(user: str) -> Side:
    keys = [SigningKey.fresh().public for _ in range(2)]
    return Side(
        user, f"{user[1:4].upper()}DEV", {f"ed25519:{user[1:4].upper()}DEV": keys[0], f"ed25519:{keys[1]}": keys[1]}
    )


def pair(room: RoomId | None = None) -> tuple[Verification, Verification]:
    ann, bot = side(ANN), side(BOT)
    one = Verification("$id", room, ann, BOT, Stage.READY, 0.0, bot.device, bot)
    return one, Verification("$id", room, bot, ANN, Stage.READY, 0.0, ann.device, ann)


def told(of: Verification, said: list[tuple[str, JsonObject]], to: Verification) -> list[tuple[str, JsonObject]]:
    return [answer for kind, content in said for answer in to.take(kind, of.named(content))]


def until_shown(one: Verification, two: Verification, said: list[tuple[str, JsonObject]]) -> None:
    while said:
        said = told(one, said, two)
        one, two = two, one


@pytest.mark.parametrize("room", [None, RoomId("!room:localhost")])
def test_both_see_the_same_and_prove_their_keys(room: RoomId | None) -> None:
    one, two = pair(room)
    until_shown(one, two, [one.start()])
    assert one.emoji == two.emoji
    assert len(one.emoji) == 7
    mac = one.confirm()
    assert told(one, mac, two) == []
    [(kind, proof), done] = two.confirm()
    assert (kind, done) == ("mac", ("done", {}))
    assert one.take(kind, two.named(proof)) == [("done", {})]
    assert one.vouched == set(two.me.keys)
    assert two.vouched == set(one.me.keys)


def test_where_both_start_that_of_the_smaller_one_counts() -> None:
    ann, bot = pair()
    by_ann, by_bot = ann.start(), bot.start()
    assert told(bot, [by_bot], ann) == []
    until_shown(bot, ann, told(ann, [by_ann], bot))
    assert ann.emoji == bot.emoji != ()


def test_a_key_that_was_not_committed_to_is_refused() -> None:
    one, two = pair()
    [(_, accept)] = told(one, [one.start()], two)
    other = sas.Exchange(False, two.me, one.me, "$id")
    one.take("accept", two.named(accept))
    with pytest.raises(Cancelled) as found:
        one.take("key", {"key": other.public})
    assert found.value.code == "m.mismatched_commitment"


def test_keys_that_the_homeserver_tells_otherwise_are_refused() -> None:
    one, two = pair()
    forged = {name: SigningKey.fresh().public for name in two.me.keys}
    one.them = Side(BOT, two.me.device, forged)
    until_shown(one, two, [one.start()])
    [(kind, proof)] = two.confirm()
    with pytest.raises(Cancelled) as found:
        one.take(kind, proof)
    assert found.value.code == "m.key_mismatch"
    assert not one.vouched


def test_somebody_in_between_makes_the_emoji_differ() -> None:
    (ann, to_ann), (to_bot, bot) = pair(), pair()
    until_shown(ann, to_ann, [ann.start()])
    until_shown(to_bot, bot, [to_bot.start()])
    assert ann.emoji != bot.emoji


CONTENTS = st.dictionaries(
    st.sampled_from(["from_device", "method", "key", "mac", "keys", "commitment", "hashes"]),
    st.none() | st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=2) | st.dictionaries(st.text(), st.none()),
)


@given(
    st.lists(st.tuples(st.sampled_from(["start", "accept", "key", "mac", "done", "dance"]), CONTENTS), max_size=4),
    st.integers(0, 3),
)
def test_whatever_comes_is_understood_or_cancelled(heard: list[tuple[str, JsonObject]], steps: int) -> None:
    one, two = pair()
    said, speaker, listener = [one.start()], one, two
    for _ in range(steps):
        said, speaker, listener = told(speaker, said, listener), listener, speaker
    for kind, content in heard:
        try:
            two.take(kind, content)
        except Cancelled as error:
            assert error.code.startswith("m.")
    assert not two.vouched
