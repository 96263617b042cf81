"""Recovery keys, secrets sealed with them, room keys in a backup, and what is forgotten of all that was read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import UserId
from roommate.errors import Refused, Transient
from roommate.matrix.crypto import megolm, recovery_key, replay_guard
from roommate.matrix.crypto.backed_up_session import BackupKey, packed, unpack
from roommate.matrix.crypto.forgetting import LEFT_SECONDS, forget
from roommate.matrix.crypto.key_backup import BATCH, KeyBackup
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import BACKUP, INBOUND, INDEX, LEFT, STEPS, UNSAVED, Records
from roommate.matrix.crypto.secret_storage import described, fits, seal, unseal
from roommate.store import CryptoRecords
from tests.patience import until

JsonObject = dict[str, Any]
ROOM, BOT, ANN = "!room:a", UserId("@bot:a"), "@ann:a"
keys = st.binary(min_size=32, max_size=32)


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[CryptoRecords]:
    one = CryptoRecords(tmp_path)
    await one.do(lambda r: OwnDevice.begin(r, one.key, BOT, "DEVICE"))
    yield one
    await one.close()


@given(keys, st.integers(0, 47), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0OIl/ü"))
def test_a_recovery_key_is_read_as_it_was_written(key: bytes, at: int, letter: str) -> None:
    text = recovery_key.written(key)
    assert [len(group) for group in text.split(" ")] == [4] * 12
    assert text.startswith("Es")
    assert recovery_key.read(text) == key
    assert recovery_key.read(text.replace(" ", "") + "\n") == key
    letters = list(text.replace(" ", ""))
    letters[at] = letter
    with contextlib.suppress(ValueError):
        assert recovery_key.read("".join(letters)) != key or "".join(letters) == text.replace(" ", "")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"algorithm": "m.other", "salt": "s", "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": 5, "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1 << 40},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 0},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1, "bits": 1 << 30},
    ],
)
def test_what_a_homeserver_says_of_a_passphrase_cannot_keep_us_busy(how: JsonObject) -> None:
    with pytest.raises(Refused):
        recovery_key.understood("correct horse", {"passphrase": how})


@given(keys, keys, st.text(max_size=40), st.text(max_size=200))
def test_a_secret_is_opened_by_its_key_under_its_name(key: bytes, other: bytes, name: str, secret: str) -> None:
    sealed = seal(key, name, secret)
    assert unseal(key, name, sealed) == secret
    wrong: list[tuple[bytes, str, JsonObject]] = [(key, f"{name}.", sealed), (key, name, {**sealed, "mac": "AAAA"})]
    wrong += [(other, name, sealed)] if other != key else []
    junk: tuple[Any, ...] = (None, 5, "?", [])
    wrong += [(key, name, {**sealed, part: one}) for part in sealed for one in junk]
    for key_of, name_of, value in wrong:
        with pytest.raises(ValueError):
            unseal(key_of, name_of, value)
    assert fits(key, described(key))
    assert fits(other, described(key)) is (other == key)
    assert not fits(key, {**described(key), "iv": 7})


def ours(r: Records, key: bytes, user: str = ANN) -> tuple[str, Any]:
    """A room key that came from somebody: its session, and what is written with it."""
    session = vodozemac.GroupSession()
    inbound = vodozemac.InboundGroupSession(session.session_key)
    megolm.keep_key(r, key, ROOM, inbound, user=user, curve25519="curve", ed25519="ed")
    return session.session_id, session


def event(session: Any, event_id: str, sender: str = ANN) -> JsonObject:
    payload = {"room_id": ROOM, "type": "m.room.message", "content": {"body": event_id}}
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session.session_id,
        "ciphertext": session.encrypt(json.dumps(payload).encode()).to_base64(),
    }
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender, "content": content}


async def test_a_room_key_out_of_the_backup_is_whose_it_was_if_the_backup_proves_it(records: CryptoRecords) -> None:
    backup, key = BackupKey(bytes(range(32))), records.key

    def work(r: Records) -> None:
        r.put(BACKUP, "own", "{}")
        session_id, session = ours(r, key)
        assert r.all(UNSAVED) == [(f"{ROOM} {session_id}", "")], "in the transaction of the key"
        saved = packed(r, key, backup, ROOM, session_id)
        assert saved is not None
        said = event(session, "$1")
        for kind in (INBOUND, UNSAVED):
            r.drop_all(kind)
        assert unpack(r, key, backup, ROOM, session_id, saved)
        assert r.all(UNSAVED) == [], "it is there already"
        with pytest.raises(ValueError, match="not by the one"):
            megolm.decrypt(r, key, ROOM, {**said, "sender": "@mallory:a"})
        assert megolm.decrypt(r, key, ROOM, said)["content"]["body"] == "$1"

        # Another client's entry, or one that somebody made up: whose it is, it does not prove.
        content = backup.unseal(saved["session_data"])
        content["io.roommate.origin"]["user"] = "@mallory:a"
        for kind in (INBOUND, STEPS):
            r.drop_all(kind)
        forged = {"session_data": backup.seal(content)}
        assert unpack(r, key, backup, ROOM, session_id, forged)
        assert megolm.decrypt(r, key, ROOM, said)["content"]["body"] == "$1"
        with pytest.raises(ValueError, match="not by the one"):
            megolm.decrypt(r, key, ROOM, event(session, "$2", "@mallory:a"))
        again = packed(r, key, backup, ROOM, session_id)
        assert again is not None
        assert "io.roommate.origin" not in backup.unseal(again["session_data"]), (
            "what was not proven is not vouched for"
        )

        damaged: tuple[JsonObject, ...] = (
            {},
            {"session_data": {}},
            {"session_data": {**saved["session_data"], "mac": "AAAAAAAAAAA"}},
            {"session_data": backup.seal({})},
            {"session_data": backup.seal({**content, "session_key": "AAAA"})},
            {"session_data": backup.seal({**content, "algorithm": "m.other"})},
        )
        for bad in damaged:
            with pytest.raises((ValueError, KeyError, TypeError)):
                unpack(r, key, backup, ROOM, session_id, bad)
        with pytest.raises(ValueError, match="not the key"):
            unpack(r, key, backup, ROOM, "another", saved)

    await records.do(work)


class Server:
    """A homeserver's key backup that is busy at first, and later is another one."""

    def __init__(self) -> None:
        self.busy, self.gone, self.saved = 2, False, dict[str, JsonObject]()
        self.came = asyncio.Event()

    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, *rest: object
    ) -> JsonObject:
        if method == "GET":
            raise Refused("no such key", "M_NOT_FOUND")
        assert path == "/room_keys/keys?version=7"
        if self.gone:
            self.came.set()
            raise Refused("another version is current", "M_WRONG_ROOM_KEYS_VERSION")
        if self.busy:
            self.busy -= 1
            raise Transient("too many requests", 0.0)
        assert body is not None
        for room in body["rooms"].values():
            assert len(room["sessions"]) <= BATCH
            self.saved |= room["sessions"]
        self.came.set()
        return {}


async def test_room_keys_go_to_the_backup_when_it_takes_them_and_stay_due_until_then(records: CryptoRecords) -> None:
    server = Server()
    backup = KeyBackup(records, server)
    before = await records.do(lambda r: [ours(r, records.key)[0] for _ in range(BATCH + 5)])
    running = asyncio.create_task(backup.run())
    await backup.use("7", BackupKey(bytes(32)), whole=False)
    await until(lambda: server.saved.keys() >= set(before), "all that was there")
    later, _ = await records.do(lambda r: ours(r, records.key))
    backup.wake()
    await until(lambda: later in server.saved, "what came")
    await until(lambda: _due(backup), "nothing is due")
    server.gone = True
    await records.do(lambda r: ours(r, records.key))
    backup.wake()
    await until(lambda: "replaced by another client" in backup.problem, "a line that says so")
    assert await backup.waiting() == 1, "it is not lost"
    assert not await backup.look_up([(ROOM, "unknown")])
    running.cancel()


async def _due(backup: KeyBackup) -> bool:
    return await backup.waiting() == 0


async def test_a_step_is_for_one_event_whatever_else_is_remembered(records: CryptoRecords) -> None:
    chance = random.Random(7)

    def work(r: Records) -> None:
        for step in range(0, 400, 3):
            r.put(INDEX, f"old {step}", f"${step}")  # as an earlier release did
        used = {("old", step): f"${step}" for step in range(0, 400, 3)}
        for number in range(2000):
            if number in (500, 1000):
                replay_guard.fold(r, records.key, 60)
            where = chance.choice(("old", "new")), chance.randrange(400)
            event_id = chance.choice((f"${where[1]}", "$other"))
            first = used.setdefault(where, event_id) == event_id
            assert replay_guard.is_first(r, records.key, *where, event_id) is first
        assert replay_guard.fold(r, records.key, 1000) == 134 - 120
        assert r.all(INDEX) == []
        for (session, step), event_id in used.items():
            assert replay_guard.is_first(r, records.key, session, step, event_id)
            assert not replay_guard.is_first(r, records.key, session, step, f"{event_id}!")

    await records.do(work)


async def test_a_message_that_was_read_costs_a_few_bytes(records: CryptoRecords) -> None:
    def work(r: Records) -> int:
        for session in range(20):
            for step in range(100):
                assert replay_guard.is_first(r, records.key, f"{session:043}", step, f"${session}.{step}")
        return sum(len(name) + len(value) for name, value in r.all(STEPS))

    assert await records.do(work) / 2000 < 10


class Rooms:
    """A homeserver that tells which rooms the bot is in."""

    def __init__(self, *joined: str) -> None:
        self.joined = list(joined)

    async def call(self, what: str, method: str, path: str, *rest: object, **more: object) -> JsonObject:
        assert (method, path) == ("GET", "/joined_rooms")
        return {"joined_rooms": self.joined}


async def test_the_keys_of_a_room_that_was_left_long_ago_go_and_do_not_come_back(records: CryptoRecords) -> None:
    key, backup = records.key, BackupKey(bytes(32))

    def begin(r: Records) -> tuple[Any, JsonObject, JsonObject]:
        r.put(BACKUP, "own", "{}")
        session_id, session = ours(r, key)
        said = event(session, "$1")
        megolm.decrypt(r, key, ROOM, said)
        r.put(LEFT, ROOM, "")
        saved = packed(r, key, backup, ROOM, session_id)
        assert saved is not None
        return session, said, saved

    session, said, saved = await records.do(begin)
    await forget(records, Rooms())
    assert await records.do(lambda r: len(r.all(INBOUND))) == 1, "it was left only now"

    async def long_ago() -> None:
        await records.do(lambda r: r.put(LEFT, ROOM, ""))
        with sqlite3.connect(records.file) as c:
            c.execute("UPDATE records SET at = ? WHERE kind = ?", (int((time.time() - LEFT_SECONDS - 9) * 1000), LEFT))

    await long_ago()
    await forget(records, Rooms(ROOM))
    assert await records.do(lambda r: (len(r.all(INBOUND)), r.all(LEFT))) == (1, []), "we are in it again"
    await long_ago()
    await forget(records, Rooms())

    def after(r: Records) -> None:
        assert [r.all(kind) for kind in (INBOUND, STEPS, UNSAVED, LEFT)] == [[]] * 4
        assert not unpack(r, key, backup, ROOM, session.session_id, saved)
        with pytest.raises(ValueError, match="thrown away"):
            megolm.decrypt(r, key, ROOM, {**said, "event_id": "$2"})

    await records.do(after)
