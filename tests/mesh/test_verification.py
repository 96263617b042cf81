"""What a malicious member of a room tries with signed and copied events: each is refused with its code, before anything
is found out or run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roommate.domain import EventId, RoomId, UserId
from roommate.errors import EngineError, StateError
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.identity_key import Identity
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.policy_file import PolicyFile
from roommate.features.mesh.refusals import Code, Refusal
from roommate.features.mesh.verification import CLAIMS, Accepted, Verification
from roommate.store import (
    Claim,
    Database,
    MeshArrival,
    Nonces,
    Peer,
    Peers,
    PeerState,
    Restored,
    Transaction,
    copy,
    mesh_nonces,
    mesh_peers,
    put_back,
)
from roommate.store.mesh_nonces import AHEAD
from tests.mesh.peer import new_key, public_of, request

ROOM, OTHER_ROOM = RoomId("!room:example.org"), RoomId("!other:example.org")
ANN, EVE = UserId("@ann:example.org"), UserId("@eve:example.org")
POLICY = """version = 1
[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["ping", "exec"]
commands = ["/usr/bin/make"]
approval = "people"
"""


class Place:
    """A daemon's end, without the daemon: what it believes, and a clock that tests set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = Identity.load(folder)
        self.key = new_key()
        self.policy = folder / "policy.toml"
        self.policy.write_text(POLICY)
        self.began = int(time.time() * 1000)
        self.skew = 0
        self.looked: list[str] = []
        self.problem = ""
        self._events = 0
        self.open()

    def open(self) -> None:
        self.database = Database.open(self.folder)
        self.peers = Peers(self.database)
        self.verification = Verification(
            lambda: self.identity, self.peers, Nonces(self.database), PolicyFile(self.policy), self._facts,
            now=lambda: self.began + self.skew,
        )  # fmt: skip

    async def again(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """A restart."""
        await self.database.close()
        await asyncio.to_thread(meanwhile)
        self.open()

    async def _facts(self, room_id: RoomId, asked: Request, place: object = None) -> Facts:
        self.looked.append(asked.method)
        if self.problem:
            raise EngineError(self.problem)
        return Facts("/usr/bin/make", "/workspace")

    async def trust(self, **changes: Any) -> None:
        peer = Peer(public_of(self.key), ANN, "laptop", PeerState.PINNED, rooms=(ROOM,))
        await self.database.run(mesh_peers.keeping(dataclasses.replace(peer, **changes)))

    async def settle(self) -> None:
        """As long after its making that what was issued before does not count any more."""
        await self.database.run(lambda c: c.execute("UPDATE mesh_floor SET issued=0"))

    def asked(self, method: str = "ping", **params: Any) -> Request:
        """By the asker's clock no time passes."""
        made = request(self.key, ANN, ROOM, self.identity.public, method, **params)
        return dataclasses.replace(made, issued=self.began, expires=self.began + 60_000)

    def arrived(self, content: Any, **changes: Any) -> MeshArrival:
        self._events += 1
        row = MeshArrival(1, EventId(f"${self._events}"), ROOM, ANN, 0, envelope.REQUEST, content, None)
        return dataclasses.replace(row, **changes)

    async def check(self, asked: Request | None = None, **changes: Any) -> Accepted | Refusal:
        """What comes of a request, whose event is as `changes` say."""
        return await self.taken(self.arrived(envelope.sign(self.key, asked or self.asked()), **changes))

    async def taken(self, arrival: MeshArrival) -> Accepted | Refusal:
        """Checked, and stored that it was seen, as is done with all that comes of it."""
        found = await self.verification.check(arrival)
        if found.claim is not None:
            try:
                claim = await self.database.run(found.claim)
            except StateError as error:
                return Refusal(Code.REPLAY_STORE, str(error))
            if claim is not Claim.NEW:
                return CLAIMS[claim]
        return found

    async def code(self, asked: Request | None = None, **changes: Any) -> Code | None:
        """None where it was accepted."""
        found = await self.check(asked, **changes)
        return found.code if isinstance(found, Refusal) else None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    await made.settle()
    await made.trust()
    yield made
    await made.database.close()


async def test_a_right_one_is_accepted_with_its_decision(place: Place) -> None:
    asked = place.asked("exec", argv=["make"])
    found = await place.check(asked)
    assert isinstance(found, Accepted)
    assert (found.request, found.peer.name, found.decision.approval) == (asked, "laptop", "people")
    assert found.digest == envelope.digest(asked)


async def test_an_event_that_is_not_the_one_that_was_signed(place: Place) -> None:
    content = envelope.sign(place.key, place.asked())
    for changes, code in (
        ({"room_id": OTHER_ROOM}, Code.ROOM),
        ({"type": envelope.REPLY}, Code.ROOM),
        ({"sender": EVE}, Code.SENDER),
        ({"content": content | {"m.relates_to": {"rel_type": "m.replace", "event_id": "$1"}}}, Code.MALFORMED),
        ({"content": {}}, Code.MALFORMED),  # as a redaction leaves it
        ({"content": content | {"method": "exec"}}, Code.SIGNATURE),
        ({"content": content | {"signatures": {ANN: {}}}}, Code.SIGNATURE),
    ):
        found = await place.verification.check(dataclasses.replace(place.arrived(content), **changes))
        assert isinstance(found, Refusal)
        assert found.code is code
        assert not found.code.is_told
    assert await place.code(dataclasses.replace(place.asked(), target=public_of(new_key()))) is Code.TARGET
    assert await place.code() is None, "none of these has used anything up"


async def test_a_key_that_is_not_trusted_or_not_here_or_not_now(place: Place) -> None:
    for changes, code in (
        ({"state": PeerState.INTRODUCED}, Code.UNKNOWN_PEER),
        ({"state": PeerState.REVOKED}, Code.REVOKED),
        ({"state": PeerState.ROTATED}, Code.REVOKED),
        ({"mxid": EVE}, Code.SENDER),
        ({"rooms": (OTHER_ROOM,)}, Code.OUT_OF_SCOPE),
        ({"rooms": ()}, Code.OUT_OF_SCOPE),
        ({"expires": 1}, Code.TRUST_EXPIRED),
    ):
        await place.trust(**changes)
        assert await place.code() is code
    await place.trust(rooms=None)
    assert await place.code() is None
    trusted, place.key = place.key, new_key()
    assert await place.code() is Code.UNKNOWN_PEER
    swapped = dataclasses.replace(place.asked(), origin=public_of(trusted))
    assert await place.code(swapped) is Code.SIGNATURE


@pytest.mark.parametrize(
    ("skew", "life", "code"),
    [
        (119_000, 300_000, None),
        (122_000, 300_000, Code.EXPIRED),
        (-29_000, 60_000, None),
        (-32_000, 60_000, Code.CLOCK),
        (-(10**12), 60_000, Code.CLOCK),
        (0, 86_400_000, None),
        (0, 86_400_001, Code.CLOCK),
        (0, 0, Code.CLOCK),
        (0, -1, Code.CLOCK),
        (61_000, 60_000, Code.EXPIRED),
    ],
)
async def test_the_window_of_time(place: Place, skew: int, life: int, code: Code | None) -> None:
    place.skew = skew  # of our clock
    asked = place.asked()
    assert await place.code(dataclasses.replace(asked, expires=asked.issued + life)) is code


async def test_what_was_seen_counts_once_over_restarts_too(place: Place) -> None:
    asked = place.asked()
    first = place.arrived(envelope.sign(place.key, asked))
    assert isinstance(await place.taken(first), Accepted)
    assert isinstance(await place.taken(first), Accepted), "it is the same event, dealt with again"
    assert await place.code(asked) is Code.REPLAY
    assert await place.code(dataclasses.replace(asked, nonce=envelope.new_nonce())) is Code.REPLAY
    assert await place.code(dataclasses.replace(asked, id=envelope.new_id())) is Code.REPLAY
    await place.again()
    assert await place.code(asked) is Code.REPLAY


async def test_after_a_restore_all_that_was_issued_before_is_refused(place: Place, tmp_path: Path) -> None:
    asked, kept = place.asked(), tmp_path / "kept.db"
    await place.again(lambda: copy(place.folder, kept))
    assert await place.code(asked) is None

    def restored() -> None:
        for name in ("roommate.db", "roommate.db-wal", "roommate.db-shm"):
            (place.folder / name).unlink(missing_ok=True)
        shutil.copyfile(kept, place.folder / "roommate.db")

    await place.trust(state=PeerState.REVOKED)
    await place.again(restored)
    assert await Restored(place.database).mark(1) == 1
    assert await place.code(asked) is Code.UNKNOWN_PEER, "a revocation since the copy is not undone"
    await place.trust()
    assert await place.code(asked) is Code.REPLAY_STORE
    ahead = dataclasses.replace(place.asked(), issued=place.began + 29_000)
    assert await place.code(ahead) is Code.REPLAY_STORE, "a clock that is ahead may have issued it before, too"


async def test_a_rollback_takes_neither_what_was_seen_nor_a_revocation_back(place: Place, tmp_path: Path) -> None:
    asked, kept = place.asked(), tmp_path / "kept.db"
    await place.again(lambda: copy(place.folder, kept))
    assert await place.code(asked) is None
    await place.trust(state=PeerState.REVOKED)
    await place.again(lambda: put_back(kept, place.folder))
    assert await place.code(asked) is Code.REVOKED
    await place.trust()
    assert await place.code(asked) is Code.REPLAY
    assert await place.code() is Code.REPLAY_STORE


async def test_a_request_that_lives_long_is_remembered_as_long_as_a_copy_would_be_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_nonces, "MOST_OF_A_KEY", 1)
    asked = place.asked()
    asked = dataclasses.replace(asked, expires=asked.issued + 3_600_000)
    assert await place.code(asked) is None
    place.skew = 119_000
    assert await place.code(asked) is Code.REPLAY
    place.skew = 122_000
    assert await place.code(asked) is Code.EXPIRED
    fresh = dataclasses.replace(place.asked(), issued=place.began + 122_000, expires=place.began + 182_000)
    assert await place.code(fresh) is None
    assert await place.database.rows("SELECT request FROM mesh_nonces") == [(fresh.id,)]


@pytest.mark.parametrize("harm", ["damaged", "gone", "of another shape"])
async def test_where_nobody_knows_what_was_revoked_nobody_is_trusted(place: Place, tmp_path: Path, harm: str) -> None:
    kept = tmp_path / "kept.db"
    await place.again(lambda: copy(place.folder, kept))
    await place.trust(state=PeerState.REVOKED)

    def put_back_over_it() -> None:
        file = place.folder / "roommate.db"
        if harm == "gone":
            file.unlink()
        elif harm == "damaged":
            file.write_bytes(b"none" * 5000)
        else:
            with contextlib.closing(sqlite3.connect(file)) as c:
                c.execute("ALTER TABLE mesh_peers ADD COLUMN further TEXT")
                c.commit()
        put_back(kept, place.folder)

    await place.again(put_back_over_it)
    assert await place.code() is (Code.REVOKED if harm == "of another shape" else Code.UNKNOWN_PEER)


async def test_who_floods_is_refused_and_pushes_nothing_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_nonces, "MOST_OF_A_KEY", 3)
    seen = [place.asked() for _ in range(3)]
    assert [await place.code(one) for one in seen] == [None, None, None]
    assert await place.code() is Code.REPLAY_FULL
    assert [await place.code(one) for one in seen] == [Code.REPLAY] * 3

    first, place.key = place.key, new_key()
    await place.trust(name="other", rooms=None)
    assert await place.code() is Code.POLICY, "another key is not held up by it"
    place.key, place.skew = first, 61_000
    fresh = dataclasses.replace(place.asked(), issued=place.began + 61_000, expires=place.began + 121_000)
    assert await place.code(fresh) is None, "what has expired makes room"
    place.skew = 0  # our clock is set back
    old = dataclasses.replace(seen[0], id=envelope.new_id(), nonce=envelope.new_nonce())
    assert await place.code(old) is Code.EXPIRED


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM mesh_floor",
        "INSERT INTO mesh_floor VALUES (0, 0)",
        "DROP TABLE mesh_nonces",
        "DROP TABLE mesh_peers",
    ],
)
async def test_a_damaged_store_refuses_all(place: Place, damage: str) -> None:
    await place.database.run(lambda c: c.execute(damage))
    assert await place.code() is Code.REPLAY_STORE


async def test_after_a_power_cut_what_came_before_it_may_have_run(place: Place) -> None:
    await place.database.run(lambda c: c.execute("UPDATE power_cut SET at=?", (place.began,)))
    assert await place.code() is Code.UNKNOWN
    assert Code.UNKNOWN.is_told
    await place.database.run(lambda c: c.execute("UPDATE power_cut SET at=?", (place.began - AHEAD - 1,)))
    assert await place.code() is None


async def test_a_full_disk_refuses_all(place: Place) -> None:
    def full(c: Transaction) -> None:
        [pages] = c.execute("PRAGMA page_count").fetchone()
        c.execute(f"PRAGMA max_page_count={pages}")

    await place.database.alone(full)
    for _ in range(1000):
        if await place.code() is not None:
            break
    assert await place.code() is Code.REPLAY_STORE


async def test_people_say_yes_to_what_still_is_what_it_was(place: Place) -> None:
    asked = place.asked("exec", argv=["make"])
    late = dataclasses.replace(asked, expires=asked.issued + 300_000)
    held = place.arrived(envelope.sign(place.key, late))
    assert isinstance(await place.verification.check(held), Accepted)
    place.skew = 200_000
    assert isinstance(await place.verification.check(held, released=True), Accepted)
    assert isinstance(await place.verification.check(held), Refusal), "but only when they have"
    for text, code in (("version = 1", Code.POLICY), ("version =", Code.POLICY_BROKEN)):
        place.policy.write_text(text)
        found = await place.verification.check(held, released=True)
        assert isinstance(found, Refusal)
        assert found.code is code
    place.policy.write_text(POLICY)
    await place.trust(state=PeerState.REVOKED)
    revoked = await place.verification.check(held, released=True)
    assert isinstance(revoked, Refusal)
    assert revoked.code is Code.REVOKED
    await place.trust()
    await place.database.run(mesh_nonces.raise_floor)
    restored = await place.verification.check(held, released=True)
    assert isinstance(restored, Refusal)
    assert restored.code is Code.REPLAY_STORE, "it may have been done after the backup"
    await place.settle()
    place.skew = 301_000
    over = await place.verification.check(held, released=True)
    assert isinstance(over, Refusal)
    assert over.code is Code.EXPIRED


async def test_where_nobody_can_look_it_is_to_be_asked_again(place: Place) -> None:
    place.problem = "Podman does not answer"
    assert await place.code(place.asked("exec", argv=["make"])) is Code.TRY_AGAIN
    place.problem = ""
    assert await place.code(place.asked("exec", argv=["make"])) is None


async def test_nothing_is_found_out_for_what_no_rule_is_about(place: Place) -> None:
    assert await place.code(place.asked("call", tool="x")) is Code.POLICY
    assert await place.code(place.asked("exec", argv=["make"], place="fresh")) is Code.POLICY
    assert await place.code(place.asked("fly")) is Code.UNKNOWN_METHOD
    await place.trust(name="stranger")
    assert await place.code(place.asked("exec", argv=["make"])) is Code.POLICY
    assert place.looked == []
