"""What comes again where it is lost is not forced to the disk: a power cut takes it wholly, and it counts once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from roommate.domain import (
    MESH_REQUEST,
    Draft,
    EventId,
    Incoming,
    JsonObject,
    MeshEvent,
    Message,
    RoomId,
    RoomState,
    SyncBatch,
    UserId,
)
from roommate.errors import StateError
from roommate.store import AskedRequests, Database, Inbox, MeshEvents, Transaction
from roommate.store.database import FORCED_WITHIN
from roommate.store.mesh_asked import FEW, Asked, AskedState, Heard
from roommate.store.mesh_events import taking
from roommate.store.mesh_requests import PeerRequests, RequestState
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


async def test_which_ends_of_peers_requests_are_forced(database: Database) -> None:
    """One that a power cut takes is told as unknown, and only where it has run: else it could run after all."""
    said: list[str] = []
    requests = PeerRequests(database, lambda row, body: (Draft(ROOM, {"seq": row.seq}), "chain"))
    output: JsonObject = {"kind": "output", "data": ""}
    result: JsonObject = {"kind": "result", "exit": 0}

    async def is_forced(state: RequestState, *bodies: JsonObject, now: RequestState = RequestState.DONE) -> bool:
        await database.run(lambda c: c.execute("DELETE FROM mesh_requests"))
        row = await database.run(
            lambda c: c.execute(
                """INSERT INTO mesh_requests (peer, request, event_id, room_id, sender, method, content, digest,
                     expires, state, line, chain, came)
                   VALUES ('key', 'id', '$1', ?, ?, 'exec', '{}', 'digest', 0, ?, '', '', 0) RETURNING id""",
                (ROOM, ANN, state),
            ).fetchone()
        )
        said.clear()
        assert await requests.move(row[0], [state], now, said=bodies) is not None
        return "PRAGMA synchronous=NORMAL" not in said

    await database.alone(lambda c: c.set_trace_callback(said.append))
    assert not await is_forced(RequestState.RUNNING, result)
    assert await is_forced(RequestState.RUNNING, output, result), "its asker may have the first of them alone"
    assert await is_forced(RequestState.HELD, {"kind": "refused", "code": "not-approved"})
    assert await is_forced(RequestState.ACCEPTED, {"kind": "refused", "code": "cancelled"})
    assert await is_forced(RequestState.HELD, now=RequestState.ACCEPTED)
    assert await is_forced(RequestState.ACCEPTED, now=RequestState.RUNNING)
    await database.alone(lambda c: c.set_trace_callback(None))


async def test_what_was_not_forced_is_on_the_disk_soon(database: Database, tmp_path: Path) -> None:
    said: list[str] = []
    await database.alone(lambda c: c.set_trace_callback(said.append))
    await database.run_unforced(forced)
    assert not _forces(said)
    log = (tmp_path / "roommate.db-wal").read_bytes()
    await until(lambda: _forces(said) == 1)
    await until(lambda: (tmp_path / "roommate.db-wal").read_bytes() != log, what="a change, else there is no fsync")
    await database.run_unforced(lambda c: c.execute("SELECT 1").fetchone())
    await database.run_unforced(forced)
    await database.run(forced)
    assert _forces(said) == 2
    await asyncio.sleep(2 * FORCED_WITHIN)
    assert _forces(said) == 2, "that of others has taken it there"
    await database.alone(lambda c: c.set_trace_callback(None))


async def test_one_that_never_rests_forces_now_and_then(database: Database) -> None:
    said: list[str] = []
    await database.alone(lambda c: c.set_trace_callback(said.append))
    began = asyncio.get_running_loop().time()
    while not _forces(said):
        await asyncio.gather(database.run_unforced(forced), database.run_unforced(forced, few=False))
        assert asyncio.get_running_loop().time() < began + PATIENCE
    assert asyncio.get_running_loop().time() >= began + FORCED_WITHIN
    await database.alone(lambda c: c.set_trace_callback(None))


async def test_what_comes_while_the_rest_is_forced_is_forced_soon_too(database: Database) -> None:
    """Both are done before the event loop hears of either."""
    said: list[str] = []
    begun, done = threading.Event(), threading.Event()
    await database.run(lambda c: None)
    await database.alone(lambda c: c.set_trace_callback(said.append))
    await database.run_unforced(forced, few=False)
    slow = asyncio.create_task(database.run(lambda c: begun.wait(PATIENCE)))
    await asyncio.sleep(2 * FORCED_WITHIN)
    others = [
        asyncio.create_task(database.alone(lambda c: None)),
        asyncio.create_task(database.run_unforced(forced, few=False)),
        asyncio.create_task(database.alone(lambda c: done.set())),
    ]
    await asyncio.sleep(0)
    begun.set()
    assert done.wait(PATIENCE)
    await asyncio.gather(slow, *others)
    forces = _forces(said)
    await until(lambda: _forces(said) > forces)
    await database.alone(lambda c: c.set_trace_callback(None))


async def test_a_row_that_is_written_again_as_it_was_is_on_the_disk_then(database: Database, tmp_path: Path) -> None:
    """SQLite writes nothing for it, and forces nothing."""
    log = tmp_path / "roommate.db-wal"
    await database.run_unforced(lambda c: c.execute("UPDATE sync SET since = 's1'"))
    before = log.read_bytes()
    await database.run(lambda c: c.execute("UPDATE sync SET since = 's1'"))
    assert log.read_bytes() != before


async def test_what_a_killed_process_did_not_force_is_on_the_disk_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    await database.run_unforced(lambda c: c.execute("UPDATE sync SET since = 's1'"))
    killed = shutil.copytree(tmp_path, tmp_path / "killed")
    left = (killed / "roommate.db-wal").read_bytes()
    after = Database.open(killed)
    try:
        assert (killed / "roommate.db-wal").read_bytes() != left
        assert await Inbox(after).since() == "s1"
    finally:
        await after.close()


async def test_nothing_waits_behind_a_database_that_was_closed(tmp_path: Path) -> None:
    database, before = Database.open(tmp_path), asyncio.all_tasks()
    await asyncio.gather(database.run_unforced(forced, few=False), database.close())
    others = asyncio.all_tasks() - before
    if others:
        await asyncio.wait(others, timeout=4 * FORCED_WITHIN)
    assert all(task.done() for task in others)


def _forces(said: Sequence[str]) -> int:
    """How many changes SQLite was told to force."""
    return sum(one == "PRAGMA synchronous=FULL" for one in said)


async def test_what_waits_for_no_fsync_is_done_at_once_and_behind_what_was_given_before(database: Database) -> None:
    """The thread does what is large, what begins the log, and what comes while it has anything to do."""
    begun, done = threading.Event(), list[str]()

    def who(name: str, c: Transaction) -> bool:
        done.append(name)
        c.execute("UPDATE sync SET since = since")
        return threading.current_thread() is threading.main_thread()

    def slow(c: Transaction) -> bool:
        assert begun.wait(PATIENCE)
        return who("slow", c)

    assert not await database.run_unforced(partial(who, "begins the log"))
    assert await database.run_unforced(partial(who, "at once"))
    assert not await database.run_unforced(partial(who, "large"), few=False)
    given = [asyncio.create_task(database.run(slow))]
    await asyncio.sleep(0)
    given.append(asyncio.create_task(database.run_unforced(partial(who, "behind"))))
    await asyncio.sleep(0)
    begun.set()
    assert not any(await asyncio.gather(*given))
    assert done[-2:] == ["slow", "behind"]
    assert await database.run_unforced(partial(who, "at once"))


async def test_no_fsync_is_waited_for_on_the_event_loop(database: Database, tmp_path: Path) -> None:
    """Not that of a checkpoint, nor that of a log that begins anew behind it."""
    here: list[bool] = []

    def write(c: Transaction) -> None:
        c.execute("UPDATE sync SET since = ?", (os.urandom(40_000).hex(),))
        here.append(threading.current_thread() is threading.main_thread())

    log = tmp_path / "roommate.db-wal"
    database_written = (tmp_path / "roommate.db").stat().st_mtime_ns
    begins = _salt(log)
    for number in range(300):
        before, salt = (tmp_path / "roommate.db").stat().st_mtime_ns, _salt(log)
        await (database.run if number % 5 == 0 else database.run_unforced)(write)
        if here[-1]:
            assert (tmp_path / "roommate.db").stat().st_mtime_ns == before
            assert _salt(log) == salt
    assert (tmp_path / "roommate.db").stat().st_mtime_ns != database_written, "there was a checkpoint"
    assert _salt(log) != begins, "the log has begun anew"
    assert sum(here) > 150
    assert log.stat().st_size < 16 << 20


def _salt(log: Path) -> bytes:
    """Of SQLite's log, another one each time that it begins: see its file format."""
    with log.open("rb") as file:
        return file.read(32)[16:24]


async def test_another_process_that_writes_is_waited_for_by_the_thread(database: Database, tmp_path: Path) -> None:
    await database.run(forced)
    with contextlib.closing(sqlite3.connect(tmp_path / "roommate.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(database.run_unforced(lambda c: threading.current_thread().name))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert await waiting == "database"


async def test_what_begins_the_log_behind_a_checkpoint_is_left_to_the_thread(database: Database) -> None:
    await database.run(forced)
    await database.alone(lambda c: c.execute("PRAGMA wal_checkpoint").fetchone())
    assert await database.run_unforced(lambda c: threading.current_thread().name) == "database"


async def test_what_fails_on_the_event_loop_has_done_nothing(database: Database) -> None:
    def fails(c: Transaction) -> None:
        c.execute("UPDATE sync SET since = 'half'")
        raise ValueError("no")

    await database.run(forced)
    with pytest.raises(ValueError, match="no"):
        await database.run_unforced(fails)
    with pytest.raises(StateError, match="no such table"):
        await database.run_unforced(lambda c: c.execute("UPDATE nowhere SET a = 1"))
    assert await Inbox(database).since() is None
    assert not await database.run_unforced(forced)


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
    await ask(database)
    copy = tmp_path / "copy"
    copy.mkdir()
    await database.alone(lambda c: c.execute("VACUUM INTO ?", (str(copy / "roommate.db"),)))
    before_the_cut, after = await heard(database), Database.open(copy)
    try:
        assert await heard(after) == before_the_cut
    finally:
        await after.close()


async def test_a_reply_of_which_much_is_kept_is_heard_by_the_thread(database: Database) -> None:
    """Its first piece may be the last that comes: then all is read. Before that nothing is."""
    await ask(database)
    heard = Heard(0, "d", AskedState.SENT, 1e12)
    taken, threads = list[Sequence[int]](), list[str]()

    def take(asked: Asked, there: Mapping[int, object]) -> Heard:
        taken.append(sorted(there))
        return heard

    async def hear(seq: int) -> str:
        def also(c: Transaction) -> None:
            threads.append(threading.current_thread().name)

        await AskedRequests(database).hear("01ASKED", seq, ("c", {}), take, lambda *_: {}, also)
        return threads[-1]

    await database.run(forced)
    assert await hear(2) == "MainThread"
    assert await hear(FEW) == "database"
    assert await hear(1) == "database"
    assert taken == []
    assert await hear(0) == "database"
    assert taken == [[0, 1, 2, FEW]]


async def ask(database: Database) -> None:
    asked = Asked(
        id="01ASKED", room_id=ROOM, peer="key", peer_user=ANN, peer_name="ann", origin="ours", method="ping",
        params={}, digest="d", who="cli", subject="", shown=True, chain="d", sent_chain="d", seconds=1, until=1e12,
        asked=1.0,
    )  # fmt: skip
    await AskedRequests(database).add(asked, Draft(ROOM, {}, event_type=MESH_REQUEST))


async def heard(database: Database) -> str:
    """The transaction id of the message that says how it ended."""
    over = Heard(1, "c", AskedState.RUNNING, 1e12, {"kind": "result"})
    now = await AskedRequests(database).hear(
        "01ASKED", 0, ("c", {"kind": "result"}), lambda *_: over, lambda *_: {"body": "ended"}, lambda _: None
    )
    assert now is not None
    [found] = await database.rows("SELECT txn_id FROM outbox WHERE once IS NOT NULL")
    return str(found[0])
