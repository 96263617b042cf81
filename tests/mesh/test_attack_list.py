"""What a malicious member of a real room can send in the name of a request: each event is refused with its code, which
the audit log has, and nothing runs. What needs no homeserver is in `test_verification` and `test_envelope`."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from roommate.features.mesh import envelope
from roommate.features.mesh.identity_key import rotation
from roommate.store import copy, put_back, reading
from tests.conftest import MakePerson
from tests.harness import Daemon
from tests.mesh.attacked import ALL, Attacked, JsonObject, attacked
from tests.mesh.pair import roommate
from tests.mesh.peer import RawPeer, new_key, public_of
from tests.person import SaidNo

__all__ = ["attacked"]  # a fixture

NARROW = """\
version = 1

[[allow]]
peers = ["eve"]
rooms = ["*"]
methods = ["exec"]
commands = ["/usr/bin/uname"]
arguments = ["-s", "-a"]
folders = ["/workspace/granted"]
environment = ["CI", "PATH", "LD_PRELOAD"]
approval = "none"
"""
MINUTE = 60_000


def each_field_changed(content: JsonObject, stranger: str) -> dict[str, JsonObject]:
    """To another value that a request can have."""
    others = {
        "room_id": "!other:example.org",
        "sender": "@mallory:example.org",
        "origin": stranger,
        "target": stranger,
        "method": "ping",
        "params": {**content["params"], "timeout": 5},
        "id": envelope.new_id(),
        "issued": content["issued"] + 1,
        "expires": content["expires"] + 1,
        "nonce": envelope.new_nonce(),
    }
    return {name: content | {name: value} for name, value in others.items()}


async def test_what_is_changed_in_a_signed_request_is_seen(attacked: Attacked) -> None:
    peer, eve, bot = attacked.peer, attacked.eve, attacked.bot
    room, second, third = [await bot.room_with(eve) for _ in range(3)]
    content = peer.signed(attacked.asks(room))
    [(name, signature)] = content["signatures"][eve.user_id].items()
    signed = {"signatures": {eve.user_id: {name: signature}}}
    assert content["signatures"] == signed["signatures"]

    await attacked.refuses(room, each_field_changed(content, public_of(new_key())), "signature")
    forged = RawPeer(eve, peer.target, new_key()).signed(attacked.asks(room))["signatures"][eve.user_id]
    signatures: dict[str, object] = {
        "none of anybody": {},
        "none of the sender": {eve.user_id: {}},
        "null of the sender": {eve.user_id: None},
        "null": {eve.user_id: {name: None}},
        "empty": {eve.user_id: {name: ""}},
        "another algorithm": {eve.user_id: {name.replace("ed25519", "none"): signature}},
        "another key": {eve.user_id: forged},
        "another key by this one's name": {eve.user_id: {name: next(iter(forged.values()))}},
        "one more": {eve.user_id: {name: signature, **forged}},
        "one more by another": {eve.user_id: {name: signature}, bot.user_id: {name: signature}},
    }
    content = peer.signed(attacked.asks(second))
    await attacked.refuses(second, {why: content | {"signatures": one} for why, one in signatures.items()}, "signature")

    content = peer.signed(attacked.asks(third))
    fresh = {key: value for key, value in content.items() if key != "signatures"}
    malformed = {f"without {key}": {k: v for k, v in content.items() if k != key} for key in content}
    await attacked.refuses(third, malformed, "malformed")
    room = await bot.room_with(eve)
    content, said = peer.signed(attacked.asks(room)), await peer.send(room, {}, "org.example.said")
    edit = {"rel_type": "m.replace", "event_id": said}
    malformed = {
        "unsigned": fresh,
        "signatures that are none": content | {"signatures": None},
        "a key more": content | {"priority": "high"},
        "an edit": content | {"m.new_content": content, "m.relates_to": edit},
        "an edit alone": {"m.new_content": content, "m.relates_to": edit},
        "another version": content | {"v": 2},
        "another type": content | {"type": envelope.REPLY},
        "a text for a number": content | {"issued": str(content["issued"])},
        "a boolean for a number": content | {"v": True},
        "an empty nonce": content | {"nonce": ""},
        "nothing": {},
        "too deep": content | {"params": {"argv": json.loads("[" * 30 + "]" * 30)}},
        "too large": content | {"params": {"argv": ["x" * 50_000]}},
    }
    await attacked.refuses(room, malformed, "malformed")
    for wrong in ({"issued": 1.5}, {"params": {"timeout": 0.5}}, {"issued": 2**53}):
        with pytest.raises(SaidNo, match="M_BAD_JSON"):  # what is no JSON of Matrix never gets here
            await peer.send(room, content | wrong)
    for kind in (envelope.REPLY, envelope.INPUT, envelope.INTRODUCTION, "org.example.said"):
        await peer.send(room, content, kind)
    assert await attacked.ran(room) == 0

    # Its keys in another order are the same request; and none of all that has used it up.
    await peer.send(room, dict(reversed(content.items())))
    same = {key: content[key] for key in ("id", "issued", "expires", "nonce")}
    assert (await attacked.ended(replace(attacked.asks(room), **same)))["exit"] == 0
    assert await attacked.ran(room) == len("evil\n")


async def test_what_was_signed_for_another_time_place_or_key_is_refused(attacked: Attacked, person: MakePerson) -> None:
    peer, eve, bot = attacked.peer, attacked.eve, attacked.bot
    mallory = await person("mallory")
    room, other = [await bot.room_with(eve, mallory) for _ in range(2)]
    asked = attacked.asks(room)
    ahead, life = {"issued": asked.issued + 10 * MINUTE, "expires": asked.expires + 10 * MINUTE}, 25 * 60 * MINUTE
    wrong: dict[str, tuple[dict[str, Any], ...]] = {
        "expired": ({"issued": asked.issued - 3 * MINUTE}, {"issued": 1, "expires": 2}),
        "clock": (
            ahead,
            {"expires": asked.issued + life},
            {"expires": 0},
            {"issued": 2**52, "expires": 2**52 + MINUTE},
        ),
        "room": ({"room_id": other},),
    }
    for code, changes in wrong.items():
        some = {f"{one}": peer.signed(replace(attacked.asks(room), **one)) for one in changes}
        await attacked.refuses(room, some, code)
    event = await RawPeer(mallory, peer.target).send(room, peer.signed(attacked.asks(room)))
    assert await attacked.codes({"copied": event}) == {"copied": "sender"}
    event = await peer.send(room, peer.signed(replace(attacked.asks(room), target=public_of(new_key()))))
    for skew in (25_000, -100_000):  # clocks that differ that much are fine
        skewed = peer.request(room)
        skewed = replace(skewed, issued=skewed.issued + skew, expires=skewed.expires + skew + 2 * MINUTE)
        await peer.send(room, peer.signed(skewed))
        assert (await attacked.ended(skewed))["kind"] == "result"
    with reading(bot.state) as c:
        assert not c.execute("SELECT 1 FROM audit WHERE via=?", (event,)).fetchone(), "it was for another daemon"

    once = attacked.asks(room, "once")
    content = peer.signed(once)
    await peer.send(room, content)
    assert (await attacked.ended(once))["exit"] == 0
    same = {"the same": content, "its nonce": peer.signed(replace(once, id=envelope.new_id())),
            "its id": peer.signed(replace(once, nonce=envelope.new_nonce()))}  # fmt: skip
    await attacked.refuses(room, same, "replay")
    await bot.term()
    await bot.start()
    await attacked.refuses(room, same, "replay")
    removed = attacked.asks(room)
    await bot.term()  # removed before it was ever heard of
    await eve.redact(room, await peer.send(room, peer.signed(removed)))
    await bot.start()

    thief, forged = RawPeer(eve, peer.target, new_key()), RawPeer(mallory, peer.target, peer.key)
    for one in (thief, RawPeer(mallory, peer.target, thief.key)):
        statement = rotation(new_key(), thief.key, 1) | {"old": peer.public}
        await one.introduce(room, rotations=[statement])
    await thief.send(room, thief.signed(replace(attacked.asks(room), origin=thief.public)))
    swapped = {"swapped": peer.signed(replace(attacked.asks(room), origin=thief.public))}
    await attacked.refuses(room, swapped, "signature")
    event = await forged.send(room, forged.signed(replace(attacked.asks(room), sender=mallory.user_id)))
    assert await attacked.codes({"its key, stolen": event}) == {"its key, stolen": "sender"}
    assert await attacked.ran(room) == len("once\n")

    await roommate(bot, "trust", "revoke", "eve")
    await attacked.refuses(room, {"revoked": peer.signed(attacked.asks(room))}, "revoked")
    await roommate(bot, "trust", "add", peer.public, eve.user_id, other, "--name", "eve")
    await attacked.refuses(room, {"elsewhere": peer.signed(attacked.asks(room))}, "out-of-scope")
    attacked.change("UPDATE mesh_peers SET expires=1 WHERE key=?", peer.public)
    await attacked.refuses(other, {"over": peer.signed(attacked.asks(other))}, "trust-expired")
    attacked.change("UPDATE mesh_peers SET expires=NULL, rooms=NULL WHERE key=?", peer.public)
    attacked.change("DELETE FROM mesh_floor")
    await attacked.refuses(other, {"damaged": peer.signed(attacked.asks(other))}, "replay-store")
    with contextlib.closing(sqlite3.connect(bot.state / "roommate.db")) as c, c:
        c.execute("INSERT INTO mesh_floor VALUES (0, 0)")
    assert await attacked.ran(room) == len("once\n")
    assert await attacked.ran(other) == 0


async def test_what_was_asked_before_a_restore_is_refused_after_it(attacked: Attacked) -> None:
    peer, bot = attacked.peer, attacked.bot
    room = await bot.room_with(attacked.eve)
    assert await attacked.ran(room) == 0
    made = await roommate(bot, "backup")
    assert made.code == 0, made.errors
    kept = shutil.move(made.out.strip(), bot.folder)
    once = attacked.asks(room, "once")
    content = peer.signed(once)
    await peer.send(room, content)
    assert (await attacked.ended(once))["exit"] == 0
    await bot.kill9()
    other = Daemon(bot.settings["MATRIX_HOMESERVER"], bot.user_id, "", {**bot.settings, "MATRIX_PASSWORD": ""})
    other.settings["STATE_DIR"] = str(other.state)
    try:
        restored = await roommate(other, "restore", str(kept))
        assert restored.code == 0, restored.errors
        await other.start()
        attacked.bot = other
        same, late = {"the same": content}, {"another of then": peer.signed(attacked.asks(room, "late"))}
        await attacked.refuses(room, same, "unknown-peer")  # since nobody knows who was revoked after the backup
        added = await roommate(
            other, "trust", "add", peer.public, attacked.eve.user_id, "--everywhere", "--name", "eve"
        )
        assert added.code == 0, added.errors
        await attacked.refuses(room, same | late, "replay-store")
    finally:
        await other.discard()


async def test_what_was_asked_before_a_rollback_is_refused_after_it(attacked: Attacked, person: MakePerson) -> None:
    """Which puts the copy of the database back that was made before the release; the homeserver tells all since then
    once more."""
    peer, bot, mallory = attacked.peer, attacked.bot, await person("mallory")
    room, kept = await bot.room_with(attacked.eve, mallory), bot.folder / "kept.db"
    revoked = RawPeer(mallory, peer.target)
    added = await roommate(bot, "trust", "add", revoked.public, mallory.user_id, "--everywhere", "--name", "eve2")
    assert added.code == 0, added.errors
    assert await attacked.ran(room) == 0
    await bot.term()
    copy(bot.state, kept)
    await bot.start()
    once = attacked.asks(room, "once")
    content = peer.signed(once)
    await peer.send(room, content)
    assert (await attacked.ended(once))["exit"] == 0
    late = peer.signed(attacked.asks(room, "late"))
    assert (await roommate(bot, "trust", "revoke", "eve2")).code == 0
    await bot.term()
    put_back(kept, bot.state)
    await bot.start()
    await attacked.refuses(room, {"the same": content}, "replay")
    await attacked.refuses(room, {"another of then": late}, "replay-store")
    asked = revoked.request(room, "exec", argv=["sh", "-c", "echo evil >>/workspace/ran"])
    assert await attacked.codes({"revoked": await revoked.send(room, revoked.signed(asked))}) == {"revoked": "revoked"}
    attacked.change("UPDATE mesh_floor SET issued=0")
    assert await attacked.ran(room) == len("once\n")


async def test_a_policy_is_not_got_round(attacked: Attacked) -> None:
    peer, bot = attacked.peer, attacked.bot
    room = await bot.room_with(attacked.eve)
    evil = "printf '#!/bin/sh\\necho evil >>/workspace/ran\\n' >uname && chmod +x uname"
    links = "mkdir granted && cd granted && ln -s /usr out && ln -s .. up"
    made = await peer.ask(room, "exec", argv=["sh", "-c", f"{links} && {evil}"])
    assert (await attacked.ended(made))["exit"] == 0
    (bot.state / "policy.toml").write_text(NARROW)
    right = {"argv": ["uname", "-s"], "cwd": "/workspace/granted"}
    assert (await attacked.ended(await peer.ask(room, "exec", **right)))["exit"] == 0
    ways: dict[str, JsonObject] = {
        "its basename": {"argv": ["./uname", "-s"]},
        "a path to its basename": {"argv": ["/workspace/granted/uname", "-s"]},
        "a folder": {"cwd": "/workspace"},
        "a link out of the folder": {"cwd": "/workspace/granted/out"},
        "a link up": {"cwd": "/workspace/granted/up"},
        "..": {"cwd": "/workspace/granted/../.."},
        "arguments joined": {"argv": ["uname", "-s -a"]},
        "another argument": {"argv": ["uname", "-s", "-r"]},
        "a program through another": {"argv": ["env", "uname", "-s"]},
        "PATH": {"env": {"PATH": "/workspace/granted"}},
        "LD_PRELOAD": {"env": {"LD_PRELOAD": "/workspace/granted/x.so"}},
        "another variable": {"env": {"LANG": "C"}},
        "a terminal": {"pty": {"rows": 2, "columns": 2}},
        "input": {"stdin": True},
        "the host": {"place": "host"},
        "a new container": {"place": "fresh"},
    }
    asked = {why: peer.request(room, "exec", **right | more) for why, more in ways.items()}
    await attacked.refuses(room, {why: peer.signed(one) for why, one in asked.items()}, "policy")
    assert [why for why, one in asked.items() if await peer.refusal(one) != "policy"] == []
    (bot.state / "policy.toml").write_text(ALL)
    assert await attacked.ran(room) == 0
