"""Matrix events to words: what people write comes through, what is hostile does not hurt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import (
    ANSWERS,
    CARD,
    MESH_INTRODUCTION,
    MESH_REQUEST,
    MESH_TYPES,
    TURN,
    Answered,
    Arrived,
    Edit,
    EventId,
    Gone,
    Happening,
    Incoming,
    Invite,
    MeshEvent,
    Message,
    OwnMessage,
    Reaction,
    Redaction,
    RoomId,
    RoomState,
    SentFile,
    Unreadable,
    UserId,
)
from roommate.matrix import parse
from roommate.matrix.parse import Me
from roommate.store import codec

ROOM = RoomId("!room:hs")
ME = Me(UserId("@bot:hs"), "Robin Bot")


def event(content: object, kind: str = "m.room.message", **more: Any) -> dict[str, Any]:
    common = {"event_id": "$e", "sender": "@alice:hs", "origin_server_ts": 1234}
    return common | {"type": kind, "content": content} | more


def text(body: str, **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, **more}


def read(content: object, kind: str = "m.room.message", **more: Any) -> Happening | None:
    found = parse.incoming(ROOM, event(content, kind, **more), ME)
    return found.what if found else None


# ── what people do ───────────────────────────────────────────────────────────────────────────────


def test_a_message_with_everything_around_it() -> None:
    assert parse.incoming(ROOM, event(text("hello")), ME) == Incoming(
        EventId("$e"), ROOM, UserId("@alice:hs"), 1234, Message("hello")
    )
    assert read({"msgtype": "m.emote", "body": "waves"}) == Message("waves")
    said = text("@bot: look at that", **{"io.roommate.turn": {"id": 1, "state": "done", "prompt": "$p"}})
    assert read(said) == Message("@bot: look at that"), "what another bot answers may be meant for us"


@pytest.mark.parametrize(
    "ignored",
    [
        event({"msgtype": "m.notice", "body": "I am a bot"}),
        event(text("Shall I?", **{"io.roommate.card": {"what": "plan", "choices": ["✅"]}})),
        event(text("at it", **{"io.roommate.turn": {"id": 1, "state": "running", "prompt": "$p"}})),
        event(text("runs", **{"io.roommate.request": {"state": "open"}})),
        event(text("the disk is full", **{"io.roommate.told": True})),
        event(text("mine"), sender=ME.user_id),
        event(text("a state event"), state_key=""),
        event({"msgtype": "m.key.verification.request", "body": "verify"}),
        event({"msgtype": "m.text"}),
        event({}, unsigned={"redacted_because": {}}),
        event({"membership": "join"}, "m.room.member", state_key="@alice:hs"),
        event({"name": "x"}, "m.room.name"),
        event(text("no id"), event_id=None),
        event(text("no sender"), sender="alice"),
    ],
)
def test_what_is_not_for_us(ignored: object) -> None:
    assert parse.incoming(ROOM, ignored, ME) is None


def test_an_edit_names_its_target_and_the_new_text() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$old"}
    edit = text("* new", **{"m.new_content": text("new"), "m.relates_to": relation})
    assert read(edit) == Edit(EventId("$old"), "new")
    notice = edit | {"m.new_content": {"msgtype": "m.notice", "body": "new"}}
    assert read(notice) is None


def test_redactions_of_old_and_new_room_versions() -> None:
    assert read({"reason": "oops"}, "m.room.redaction", redacts="$old") == Redaction(EventId("$old"))
    assert read({"redacts": "$new"}, "m.room.redaction") == Redaction(EventId("$new"))
    assert read({}, "m.room.redaction") is None


def test_reactions() -> None:
    relation = {"rel_type": "m.annotation", "event_id": "$card", "key": "✅"}
    assert read({"m.relates_to": relation}, "m.reaction") == Reaction(EventId("$card"), "✅")
    assert read({"m.relates_to": relation | {"key": ""}}, "m.reaction") is None


def test_an_encrypted_event_is_unreadable() -> None:
    assert read({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "…"}, "m.room.encrypted") == Unreadable()


def test_attachments_with_and_without_a_caption() -> None:
    assert read({"msgtype": "m.file", "body": "log.txt", "url": "mxc://hs/a"}) == Message(
        "", file=SentFile("log.txt", "mxc://hs/a")
    )
    captioned = {"msgtype": "m.image", "body": "what is this?", "filename": "a.png", "url": "mxc://hs/a"}
    assert read(captioned) == Message("what is this?", file=SentFile("a.png", "mxc://hs/a"))


def test_threads_and_replies() -> None:
    def relates(**relation: Any) -> Happening | None:
        return read(text("hi", **{"m.relates_to": relation}))

    reply = {"m.in_reply_to": {"event_id": "$r"}}
    assert relates(**reply) == Message("hi", reply_to=EventId("$r"))
    threaded = {"rel_type": "m.thread", "event_id": "$root", **reply}
    assert relates(**threaded, is_falling_back=True) == Message("hi", thread=EventId("$root"))
    assert relates(**threaded) == Message("hi", thread=EventId("$root"), reply_to=EventId("$r"))


def test_the_quote_before_a_reply_is_not_what_they_wrote() -> None:
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": "$r"}}}
    assert read(text("> <@bob:hs> old\n> more\n\nnew\n> mine", **reply)) == Message(
        "new\n> mine", reply_to=EventId("$r")
    )
    assert read(text("> <@bob:hs> a quote\n\nbut no reply")) == Message("> <@bob:hs> a quote\n\nbut no reply")
    assert read(text("> quoted by hand\n\nyes", **reply)) == Message("> quoted by hand\n\nyes", reply_to=EventId("$r"))


# ── who is meant ─────────────────────────────────────────────────────────────────────────────────


def mentions(body: str, **more: Any) -> tuple[str, ...]:
    found = read(text(body, **more))
    assert isinstance(found, Message)
    return found.mentions


def test_mentions_are_what_the_client_says() -> None:
    ids = ["@bot:hs", "@bob:hs", "@bob:hs", "nobody", 7, "@no-server"]
    assert mentions("hi both", **{"m.mentions": {"user_ids": ids}}) == ("@bot:hs", "@bob:hs")


def test_pills_count_where_a_client_knows_no_mentions() -> None:
    pill = '<a href="https://matrix.to/#/%40bot%3Ahs">Robin</a> and <a href="https://matrix.to/#/@bob:hs?via=hs">B</a>'
    assert mentions("Robin and B", formatted_body=pill) == ("@bot:hs", "@bob:hs")
    assert mentions("Robin and B", formatted_body=pill, **{"m.mentions": {}}) == ()


def test_of_the_bots_own_messages_those_count_that_answer_something() -> None:
    def own(content: object, kind: str = "m.room.message") -> Happening | None:
        return read(content, kind, sender=ME.user_id)

    def turn(state: str) -> dict[str, Any]:
        return text("hello", **{TURN: {"id": 1, "state": state, "prompt": "$asked"}})

    def edited(content: object) -> dict[str, Any]:
        return text("* x", **{"m.new_content": content, "m.relates_to": {"rel_type": "m.replace", "event_id": "$l"}})

    asked = EventId("$asked")
    assert own(turn("done")) == Answered(asked, "hello", "done")
    assert own(turn("running")) == Answered(asked, runs=True)
    assert own(edited(turn("stopped"))) == Answered(asked, "hello", "stopped", edits=EventId("$l"))
    assert own(edited(turn("running"))) is None
    assert own(text("Pong", **{ANSWERS: "$asked"})) == Answered(asked, "Pong")
    for other in (
        text("hello"),
        text("x", **{ANSWERS: 7}),
        text("x", **{TURN: {"prompt": "nothing"}}),
        turn("done") | {"body": 3},
    ):
        assert own(other) in (None, Answered(asked, "", "done"))
    assert own(turn("done"), "m.reaction") is None
    card = text("Do it?", **{CARD: {"what": "plan"}, ANSWERS: "$asked"})
    assert read(card, sender=ME.user_id, unsigned={"transaction_id": "t1"}) == OwnMessage(
        "t1", Answered(asked, "Do it?")
    )
    assert own(text("Do it?", **{CARD: {"what": "plan"}})) == OwnMessage("")
    assert read(text("hello"), sender=ME.user_id, unsigned={"transaction_id": "t2"}) == OwnMessage("t2")
    assert own(edited(text("Done.", **{CARD: {"what": "plan", "over": True}}))) is None
    assert read(card) is None, "what another one asks is for its people"
    assert read(turn("done")) == Message("hello"), "of others it is talk"


# ── the bot's own membership ─────────────────────────────────────────────────────────────────────


def member(membership: str, sender: str = "@alice:hs", before: str | None = None, **content: Any) -> dict[str, Any]:
    unsigned = {"prev_content": {"membership": before}} if before else {}
    body = {"membership": membership, **content}
    return event(body, "m.room.member", state_key=ME.user_id, sender=sender, unsigned=unsigned)


def test_invited_arrived_and_gone() -> None:
    assert parse.invite(ROOM, [member("invite")], ME, "$else") == Incoming(
        EventId("$e"), ROOM, UserId("@alice:hs"), 1234, Invite()
    )
    stripped = {"type": "m.room.member", "state_key": ME.user_id, "sender": "@a:b", "content": {"membership": "invite"}}
    assert parse.invite(ROOM, [stripped], ME, "$else") == Incoming(EventId("$else"), ROOM, UserId("@a:b"), 0, Invite())
    assert parse.invite(ROOM, [], ME, "$else") is None
    assert parse.arrived(ROOM, [member("join")], ME, "$else").what == Arrived()
    assert parse.arrived(ROOM, [], ME, "$else").event_id == "$else"


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        (member("leave", before="join", reason="too loud"), "kicked by @alice:hs: too loud"),
        (member("leave", before="join"), "kicked by @alice:hs"),
        (member("ban", before="join", reason="spam"), "banned by @alice:hs: spam"),
        (member("leave", sender=ME.user_id, before="join"), "left"),
    ],
)
def test_gone_says_why(out: dict[str, Any], reason: str) -> None:
    assert parse.gone(ROOM, [event(text("bye")), out], ME, "$else").what == Gone(reason)


def test_a_new_picture_of_the_bot_is_no_arrival() -> None:
    assert parse.own_membership(member("join", before="join"), ME) is None
    assert parse.own_membership(member("join", before="invite"), ME) == "join"


def test_what_state_says_of_a_room() -> None:
    events = [event({"name": "old"}, "m.room.name", state_key=""), event({"name": "new"}, "m.room.name", state_key="")]
    encryption = event({"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encryption", state_key="")
    assert parse.room_state(ROOM, "join", [*events, encryption], {"m.joined_member_count": 3}) == RoomState(
        ROOM, "join", 3, True, "new"
    )
    assert parse.room_state(ROOM, "join", [], {"m.joined_member_count": True}) == RoomState(ROOM, "join")


# ── hostile JSON ─────────────────────────────────────────────────────────────────────────────────

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=30)
KEYS = [
    "type", "content", "sender", "event_id", "state_key", "origin_server_ts", "unsigned", "prev_content", "redacts",
    "membership", "reason", "body", "msgtype", "formatted_body", "filename", "m.relates_to", "m.new_content", "key",
    "m.in_reply_to", "m.mentions", "user_ids", "rel_type", "is_falling_back", "name", "m.joined_member_count",
]  # fmt: skip
WORDS = [
    "m.room.message", "m.room.member", "m.reaction", "m.room.redaction", "m.room.encrypted", "m.text", "m.file",
    "m.replace", "m.thread", "m.annotation", "join", "invite", "leave", "ban", "$id", "@a:b", "@bot:hs", "> <@a:b> c",
]  # fmt: skip
anything: st.SearchStrategy[Any] = st.recursive(
    leaves | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
    max_leaves=20,
)
shown = st.fixed_dictionaries({"body": leaves, "msgtype": anything}) | anything
relations = anything | st.fixed_dictionaries(
    {"rel_type": st.sampled_from(["m.replace", "m.thread"]) | anything, "event_id": st.just("$id") | anything}
)
contents = st.fixed_dictionaries(
    {"body": leaves | st.sampled_from(WORDS), "msgtype": anything},
    optional={"m.relates_to": relations, "m.new_content": shown, "file": anything, "info": anything, "url": anything},
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(WORDS[:5]), "event_id": st.just("$e"), "sender": st.sampled_from(["@a:b", "@bot:hs"])},
    optional={
        "content": contents | anything,
        "state_key": st.just("@bot:hs"),
        "unsigned": anything,
        "redacts": anything,
    },
)


@pytest.mark.parametrize("kind", [[], {}, ["m.text"], 7, None, True])
def test_a_kind_that_is_no_text_is_none(kind: object) -> None:
    relation = {"rel_type": "m.replace", "event_id": "$old"}
    for content in (
        {"msgtype": kind, "body": "x"},
        text("* x", **{"m.new_content": {"msgtype": kind, "body": "x"}, "m.relates_to": relation}),
    ):
        assert read(content) is None
    assert parse.said(event({"msgtype": kind, "body": "x"})) == ("@alice:hs", "x", None)


def test_of_an_encrypted_file_that_is_kept_which_decrypts_it_and_nothing_else() -> None:
    deep: Any = "deep"
    for _ in range(2000):
        deep = [deep]
    key = {"alg": "A256CTR", "k": "k", "ext": True, "kty": "oct", "key_ops": ["encrypt", "decrypt"]}
    place = {"url": "mxc://hs/a", "v": "v2", "key": key, "iv": "iv", "hashes": {"sha256": "h", "md5": deep}, "x": deep}
    found = read({"msgtype": "m.file", "body": "a", "file": place})
    kept = {"v": "v2", "key": {"alg": "A256CTR", "k": "k"}, "iv": "iv", "hashes": {"sha256": "h"}}
    assert found == Message("", file=SentFile("a", "mxc://hs/a", key=kept))
    assert codec.decode("Message", codec.encode(found)) == found
    hostile = read({"msgtype": "m.file", "body": "a", "file": {"key": [deep], "iv": deep}})
    assert isinstance(hostile, Message)
    codec.encode(hostile)


def storable(incoming: Incoming) -> None:
    """SQLite and UTF-8 can hold it."""
    assert 0 <= incoming.sent_at < 2**63
    shown = repr(incoming)
    assert "\0" not in shown
    json.dumps([incoming.event_id, incoming.sender, shown], ensure_ascii=False).encode()


@given(events | anything)
def test_any_event_is_a_value_or_nothing(hostile: Any) -> None:
    if found := parse.incoming(ROOM, hostile, ME):
        storable(found)


@given(st.lists(events | anything, max_size=4), anything)
def test_any_room_section_is_read(hostile: list[Any], summary: Any) -> None:
    storable(parse.arrived(ROOM, hostile, ME, "$else"))
    storable(parse.gone(ROOM, hostile, ME, "$else"))
    if invited := parse.invite(ROOM, hostile, ME, "$else"):
        storable(invited)
    state = parse.room_state(ROOM, "join", hostile, summary)
    (state.name or "").encode()


@given(st.text(st.characters(codec=None), max_size=200), st.integers(1, 100))
def test_a_text_is_cut_to_bytes_that_can_be_stored(given_text: str, limit: int) -> None:
    cut = parse.text(given_text, limit)
    assert cut is not None
    assert len(cut.encode()) <= limit
    assert "\0" not in cut


def test_a_huge_text_is_cut() -> None:
    found = read(text("ä" * 100_000))
    assert isinstance(found, Message)
    assert len(found.text.encode()) == parse.MAX_TEXT


# ── other daemons ────────────────────────────────────────────────────────────────────────────────


def test_what_another_daemon_says_is_passed_on_as_it_is_and_an_introduction_in_its_own_name_alone() -> None:
    said = {"v": 1, "sender": "@alice:hs"}
    for kind in MESH_TYPES:
        assert read(said, kind) == MeshEvent(kind, said)
    assert read(said, "io.roommate.mesh.other") is None
    assert read("text", MESH_REQUEST) == MeshEvent(MESH_REQUEST, {})
    assert read(said, MESH_REQUEST, sender=ME.user_id) is None
    assert read(said, MESH_INTRODUCTION, state_key="@alice:hs") == MeshEvent(MESH_INTRODUCTION, said, "@alice:hs")
    assert read(said, MESH_INTRODUCTION, state_key="@eve:hs") is None
    assert read(said, MESH_INTRODUCTION, state_key=ME.user_id, sender=ME.user_id) is None
    assert read(said, MESH_REQUEST, state_key="@alice:hs") is None
