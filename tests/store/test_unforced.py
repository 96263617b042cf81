"""What comes again where it is lost is not forced to the disk: a power cut takes it wholly, and it counts once."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import (
    MESH_REQUEST,
    Draft,
    EventId,
    Incoming,
    MeshEvent,
    Message,
    RoomId,
    RoomState,
    SyncBatch,
    UserId,
)
from roommate.store import AskedRequests, Database, Inbox, MeshEvents, Transaction
from roommate.store.database import FORCED_WITHIN
from roommate.store.mesh_asked import Asked, AskedState, Heard
from roommate.store.mesh_events import taking
from tests.patience import PATIENCE, until

ROOM, ANN = RoomId("!room:x"), UserId("@ann:x")
ASKED = Incoming(EventId("$1"), ROOM, ANN, 5, MeshEvent(MESH_REQUEST, {"n": 1}))
SAID = Incoming(EventId("$2"), ROOM, ANN, 5, Message("hello"))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


def forced(c: Transaction) -> bool:
    c.execute("UPDATE sync SET since = since")
    return bool(c.execute("PRAGMA synchronous").fetchone()[0] == 2)


async def test_one_that_is_to_be_on_the_disk_takes_the_others_of_its_group_there(database: Database) -> None:
    assert not await database.run_unforced(forced)
    assert await database.run(forced)
    assert not await database.run_unforced(forced)
    _, forces = await asyncio.gather(database.run_unforced(forced), database.run(forced))
    assert forces


async def test_which_syncs_are_forced(database: Database) -> None:
    said: list[str] = []
    inbox = Inbox(database)

    async def is_forced(batch: SyncBatch) -> bool:
        await database.run(forced)
        said.clear()
        await inbox.commit(batch)
        return "PRAGMA synchronous=NORMAL" not in said

    await database.alone(lambda c: c.set_trace_callback(said.append))
    token = SyncBatch("s1", (), (), comes_again=True)
    assert not await is_forced(token)
    assert not await is_forced(replace(token, happened=(ASKED, SAID)))
    assert await is_forced(replace(token, happened=(ASKED,), comes_again=False)), "part of it was kept elsewhere"
    assert await is_forced(replace(token, rooms=(RoomState(ROOM, "join"),)))
    await database.alone(lambda c: c.set_trace_callback(None))


async def test_what_was_not_forced_is_on_the_disk_soon(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    forces: list[str] = []
    to_disk = os.fdatasync

    def force(descriptor: int) -> None:
        forces.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        to_disk(descriptor)

    monkeypatch.setattr(os, "fdatasync", force)
    await database.run_unforced(forced)
    assert forces == []
    await until(lambda: forces == ["roommate.db-wal"])
    await database.run_unforced(lambda c: c.execute("SELECT 1").fetchone())
    await database.run_unforced(forced)
    await database.run(forced)
    await asyncio.sleep(2 * FORCED_WITHIN)
    assert len(forces) == 1, "that of others has taken it there"


async def test_one_that_never_rests_forces_now_and_then(database: Database) -> None:
    began = asyncio.get_running_loop().time()
    while not await database.run_unforced(forced):
        assert asyncio.get_running_loop().time() < began + PATIENCE
    assert asyncio.get_running_loop().time() >= began + FORCED_WITHIN


async def test_a_power_cut_leaves_a_beginning_and_the_rest_comes_once(database: Database, tmp_path: Path) -> None:
    """Of the log that SQLite writes as much is kept as each number of its pages."""
    inbox = Inbox(database)
    await database.alone(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    await inbox.commit(SyncBatch("s1", (), (), comes_again=True))
    await inbox.commit(SyncBatch("s2", (), (ASKED,), comes_again=True))
    await inbox.commit(SyncBatch("s3", (), (), comes_again=True))
    [arrival] = await MeshEvents(database).waiting(ROOM)

    def take(c: Transaction) -> None:
        assert taking(arrival)(c)
        c.execute("INSERT INTO mesh_nonces VALUES ('key', 'nonce', 'id', '$1', 9)")

    await database.run(take)
    log, page = (tmp_path / "roommate.db-wal").read_bytes(), 24 + await size_of_page(database)
    seen = []
    for pages in range((len(log) - 32) // page + 1):
        copy = tmp_path / f"copy-{pages}"
        copy.mkdir()
        shutil.copy(tmp_path / "roommate.db", copy)
        (copy / "roommate.db-wal").write_bytes(log[: 32 + pages * page])
        after = Database.open(copy)
        try:
            seen.append(await looked(after))
            again, since = Inbox(after), await Inbox(after).since()
            if since in (None, "s1"):
                await again.commit(SyncBatch("s2", (), (ASKED,), comes_again=True))
            waiting = (await MeshEvents(after).by_room()).get(ROOM, ())
            claimed = (await after.row("SELECT count(*) FROM mesh_nonces"))[0]
            assert len(waiting) + claimed == 1, (pages, since)
        finally:
            await after.close()
    assert list(dict.fromkeys(seen)) == [(None, 0, 0), ("s1", 0, 0), ("s2", 1, 0), ("s3", 1, 0), ("s3", 0, 1)]


async def size_of_page(database: Database) -> int:
    return int((await database.row("PRAGMA page_size"))[0])


async def looked(database: Database) -> tuple[str | None, int, int]:
    """The token, how many events wait, how many requests were seen."""
    waiting = (await database.row("SELECT count(*) FROM mesh_events"))[0]
    claimed = (await database.row("SELECT count(*) FROM mesh_nonces"))[0]
    return await Inbox(database).since(), waiting, claimed


async def test_the_end_of_what_was_asked_is_one_message_though_it_is_heard_again(
    database: Database, tmp_path: Path
) -> None:
    """After a power cut the reply comes once more, and its message may have been sent."""
    asked = Asked(
        id="01ASKED", room_id=ROOM, peer="key", peer_user=ANN, peer_name="ann", origin="ours", method="ping",
        params={}, digest="d", who="cli", subject="", shown=True, chain="d", sent_chain="d", seconds=1, until=1e12,
        asked=1.0,
    )  # fmt: skip
    await AskedRequests(database).add(asked, Draft(ROOM, {}, event_type=MESH_REQUEST))
    copy = tmp_path / "copy"
    copy.mkdir()
    await database.alone(lambda c: c.execute("VACUUM INTO ?", (str(copy / "roommate.db"),)))
    before_the_cut, after = await heard(database), Database.open(copy)
    try:
        assert await heard(after) == before_the_cut
    finally:
        await after.close()


async def heard(database: Database) -> str:
    """The transaction id of the message that says how it ended."""
    over = Heard(1, "c", AskedState.RUNNING, 1e12, {"kind": "result"})
    now = await AskedRequests(database).hear(
        "01ASKED", 0, ("c", {"kind": "result"}), lambda *_: over, lambda *_: {"body": "ended"}, lambda _: None
    )
    assert now is not None
    [found] = await database.rows("SELECT txn_id FROM outbox WHERE once IS NOT NULL")
    return str(found[0])
