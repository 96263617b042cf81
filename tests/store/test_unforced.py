"""What comes again where it is lost is not forced to the disk: a power cut takes it wholly, and it counts once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import MESH_REQUEST, EventId, Incoming, MeshEvent, Message, RoomId, RoomState, SyncBatch, UserId
from roommate.store import Database, Inbox, MeshEvents, Transaction
from roommate.store import inbox as inbox_module
from roommate.store.mesh_events import taking

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


async def test_which_syncs_are_forced(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    inbox = Inbox(database)

    async def is_forced(batch: SyncBatch) -> bool:
        await database.run(forced)
        said.clear()
        await inbox.commit(batch)
        return "PRAGMA synchronous=NORMAL" not in said

    await database.alone(lambda c: c.set_trace_callback(said.append))
    token = SyncBatch("s1", (), (), comes_again=True)
    assert await is_forced(token), "the first one"
    assert not await is_forced(token)
    assert not await is_forced(replace(token, happened=(ASKED,)))
    assert await is_forced(replace(token, happened=(ASKED,), comes_again=False)), "part of it was kept elsewhere"
    assert await is_forced(replace(token, happened=(ASKED, SAID)))
    assert await is_forced(replace(token, rooms=(RoomState(ROOM, "join"),)))
    assert not await is_forced(token)
    monkeypatch.setattr(inbox_module, "FORCED_EVERY", 0.0)
    assert await is_forced(token), "after a minute"
    await database.alone(lambda c: c.set_trace_callback(None))


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
