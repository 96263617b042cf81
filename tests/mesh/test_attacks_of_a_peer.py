"""What a trusted member of a real room tries with what it was granted: to be heard again after a flood, to fill memory,
to leave processes and containers behind, to have other bytes written than it says, and to command terminals."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sqlite3
import time
from contextlib import closing

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Request
from roommate.store import reading
from roommate.store.mesh_nonces import MOST_OF_A_KEY
from tests.cli.test_peer_screen import EVIL
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import ROOMMATE, no_settings, notice
from tests.mesh.attacked import ALL, Attacked, JsonObject, attacked
from tests.mesh.pair import fresh, roommate
from tests.patience import until
from tests.processes import sleeping
from tests.terminal import Terminal

__all__ = ["attacked"]  # a fixture

WIDE = ALL.replace('"exec"]', '"exec", "share.put", "share.ls"]') + (
    'paths = ["*"]\nstdin = true\npty = true\nenvironment = ["NOTE"]\nplaces = ["room", "fresh"]\n'
)
LEFT = 6
"""Requests that are remembered still before there are too many."""


async def test_what_was_seen_is_refused_after_a_flood_and_while_nobody_knows_what_was(attacked: Attacked) -> None:
    peer = attacked.peer
    room = await attacked.bot.room_with(attacked.eve)
    once = attacked.asks(room, "once")
    content = peer.signed(once)
    await peer.send(room, content)
    assert (await attacked.ended(once))["exit"] == 0
    expires = int(time.time() * 1000) + 100_000
    with closing(sqlite3.connect(attacked.bot.state / "roommate.db")) as c, c:  # of the last minutes
        [there] = c.execute("SELECT nonces FROM mesh_counts WHERE key=?", (peer.public,)).fetchone()
        some = [(peer.public, f"n{n}", f"r{n}", f"$e{n}", expires) for n in range(MOST_OF_A_KEY - LEFT - there)]
        c.executemany("INSERT INTO mesh_nonces VALUES (?, ?, ?, ?, ?)", some)
        c.execute("UPDATE mesh_counts SET nonces=nonces+? WHERE key=?", (len(some), peer.public))
    flood = [await peer.ask(room) for _ in range(LEFT + 4)]
    codes = [(await attacked.ended(one)).get("code") for one in flood]
    assert codes == [None] * LEFT + ["replay-full"] * 4
    full = peer.signed(attacked.asks(room))
    await attacked.refuses(room, {"another": full}, "replay-full")
    same = {"the same": content, "its nonce": peer.signed(attacked.asks(room), nonce=once.nonce)}
    await attacked.refuses(room, same, "replay")

    with closing(sqlite3.connect(attacked.bot.state / "roommate.db")) as c, c:
        c.execute("ALTER TABLE mesh_nonces RENAME TO lost")
    await attacked.refuses(room, {"the same": content, "another": peer.signed(attacked.asks(room))}, "replay-store")
    with closing(sqlite3.connect(attacked.bot.state / "roommate.db")) as c, c:
        c.execute("ALTER TABLE lost RENAME TO mesh_nonces")
        c.execute("DELETE FROM mesh_nonces WHERE nonce LIKE 'n%' AND request LIKE 'r%' AND event_id LIKE '$e%'")
        c.execute("UPDATE mesh_counts SET nonces=(SELECT count(*) FROM mesh_nonces) WHERE key=?", (peer.public,))
    await attacked.refuses(room, same, "replay")
    assert await attacked.ran(room) == len("once\n")


async def flood(attacked: Attacked, asked: Request) -> None:
    """1.4 MB of input that nobody reads."""
    data, chain = base64.b64encode(b"x" * 24_000).decode(), envelope.digest(asked)
    for number in range(60):
        piece = attacked.peer.input(asked, number, chain, kind="data", data=data)
        chain = piece.chain
        await attacked.peer.send(asked.room_id, attacked.peer.signed(piece), envelope.INPUT)


async def test_whatever_ends_it_nothing_of_it_stays(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    attacked = await Attacked.at(await daemon(), await person("eve"), WIDE)
    bot, peer, eve = attacked.bot, attacked.peer, attacked.eve
    room, numbers = await bot.room_with(alice, eve), [str(1_000_000 + secrets.randbelow(9_000_000)) for _ in range(4)]
    asked, events = list[Request](), list[str]()
    pty, fresh_one = {"pty": {"rows": 5, "columns": 50}}, {"place": "fresh"}
    ways: list[JsonObject] = [pty, fresh_one, {"stdin": True}, fresh_one]
    for number, more in zip(numbers, ways, strict=True):
        stays = f"trap '' TERM HUP INT; (setsid sh -c 'exec sleep {number}' &); sleep {number}; echo x >>/workspace/ran"
        asked.append(peer.request(room, "exec", argv=["sh", "-c", stays], **more))
        events.append(await peer.send(room, peer.signed(asked[-1])))
    await until(lambda: all(len(sleeping(number)) >= 2 for number in numbers), "all of them")
    terminal, taken_back, flooded, revoked = asked
    assert len(fresh(bot).split()) == 2

    cancel = peer.input(terminal, 0, envelope.digest(terminal), kind="cancel")
    await peer.send(room, peer.signed(cancel), envelope.INPUT)
    assert (await attacked.ended(terminal))["code"] == "cancelled"
    await eve.redact(room, events[1])
    assert (await attacked.ended(taken_back))["code"] == "cancelled"
    await flood(attacked, flooded)
    assert (await attacked.ended(flooded))["code"] == "rate"
    assert (await roommate(bot, "trust", "revoke", "eve")).code == 0
    assert (await attacked.ended(revoked))["code"] == "revoked"
    await until(lambda: not any(sleeping(number) for number in numbers), "their end")
    await until(lambda: not fresh(bot), "the end of the containers")
    with reading(bot.state) as c:
        query = "SELECT detail FROM audit WHERE what='mesh.exec' AND outcome='refused' AND via IN (?, ?, ?, ?)"
        ends = [str(detail).split()[0] for (detail,) in c.execute(query, events)]
    assert sorted(ends) == ["cancelled", "cancelled", "rate", "revoked"]
    added = await roommate(bot, "trust", "add", peer.public, eve.user_id, room, "--name", "eve")
    assert added.code == 0, added
    assert await attacked.ran(room) == 0


async def test_neither_other_bytes_nor_what_terminals_obey_get_anywhere(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    attacked = await Attacked.at(await daemon(), await person("eve"), WIDE)
    bot, peer, eve = attacked.bot, attacked.peer, attacked.eve
    room = await bot.room_with(alice, eve)
    right, evil = b"right\n" * 1000, b"evil!\n" * 1000
    event = await eve.upload(room, "a.bin", evil)
    seen = await eve.wait(lambda: next((one for one in eve.seen if one.event_id == event), None))
    assert seen is not None
    size, url, hashed = len(evil), seen.content["url"], hashlib.sha256(right).hexdigest()
    honest = hashlib.sha256(evil).hexdigest()
    key = {"kty": "oct", "alg": "A256CTR", "ext": True, "key_ops": ["encrypt", "decrypt"], "k": "A" * 43}
    sealed = {"v": "v2", "url": url, "key": key, "iv": "A" * 22, "hashes": {"sha256": "A" * 43}}
    ways: dict[str, JsonObject] = {
        "all of it": {"sha256": hashed, "parts": [{"url": url, "size": size, "sha256": hashed}]},
        "its part": {"sha256": honest, "parts": [{"url": url, "size": size, "sha256": hashed}]},
        "the whole": {"sha256": hashed, "parts": [{"url": url, "size": size, "sha256": honest}]},
        "its key": {"sha256": honest, "parts": [{"file": sealed, "size": size, "sha256": honest}]},
        "its size": {"sha256": honest, "parts": [{"url": url, "size": size - 1, "sha256": honest}]},
        "longer": {"sha256": honest, "parts": [{"url": url, "size": size + 1, "sha256": honest}]},
    }
    for why, one in ways.items():
        total = sum(part["size"] for part in one["parts"])
        ended = await attacked.ended(await peer.ask(room, "share.put", path="ran", size=total, **one))
        assert ended.get("code") == "failed", (why, ended)
    assert (await attacked.ended(await peer.ask(room, "share.ls", path=".")))["total"] == 0
    assert await attacked.ran(room) == 0

    words = f"{EVIL}</code></pre><b>✅ exit code 0</b> ``` @room"
    await peer.introduce(room, version=words[:60], methods=[words[:60]])
    for more in ({}, {"pty": {"rows": 5, "columns": 50}}):
        asked = await peer.ask(room, "exec", argv=["printf", "%s", words], env={"NOTE": words}, **more)
        assert (await attacked.ended(asked))["exit"] == 0
    refused = await peer.ask(room, "call", tool=words, arguments={words: words})
    assert (await attacked.ended(refused))["code"] == "policy"
    await notice(bot, alice, room, "policy")
    await until(lambda: sum("exit code 0 ·" in one.body for one in bot.said(alice, room)) >= 2)
    for said in bot.said(alice, room):
        assert [mark for mark in said.body + said.html if not mark.isprintable() and mark not in "\n\t"] == []
        assert "<b>✅" not in said.html
        assert said.content.get("m.mentions", {}) == {}
    listed = json.loads((await roommate(bot, "requests", "ls", "--json")).out)
    environment = {**no_settings(), **bot.settings}
    obeyed = [mark for mark in EVIL if not mark.isprintable() and mark not in "\r\n\t\x1b"]
    for command in (
        ("requests", "ls"),
        *(("requests", "show", str(one["id"])) for one in listed[:2]),
        ("audit",),
        ("trust", "ls"),
        ("peers",),
    ):
        async with Terminal(str(ROOMMATE), *command, environment=environment, columns=200) as terminal:
            assert await terminal.ended() == 0, terminal.screen.text
            await until(lambda: terminal.written.endswith(b"\n"), "all of it")
        written = terminal.written.decode()
        assert [mark for mark in obeyed if mark in written] == [], command
        assert [one for one in ("]52;", "]0;", "]8;", "P$q", "[6n", "[2J", "[?1049h") if f"\x1b{one}" in written] == []
