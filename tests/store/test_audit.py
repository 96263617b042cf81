"""The audit log keeps what it was told, shows when it was tampered with, and forgets from its beginning only."""

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import DAEMON, Deed, DeedOutcome, RoomId
from roommate.errors import StateError
from roommate.store import Audit, Database, audit, reading
from roommate.store.migrations import migrate

ROOM = RoomId("!room")


def deed(number: int, room: RoomId | None = ROOM) -> Deed:
    return Deed(f"@alice-{number}:x", f"$event-{number}", "egress.add", room_id=room, subject="example.org")


def chained(deeds: int) -> sqlite3.Connection:
    c = sqlite3.connect(":memory:", isolation_level=None)
    migrate(c)
    audit.insert(c, [deed(number) for number in range(deeds)])
    return c


def tampered(deeds: int, statement: str) -> sqlite3.Connection:
    """The log of somebody who owns the file, and so can take the triggers off."""
    c = chained(deeds)
    for (name,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        c.execute(f"DROP TRIGGER {name}")
    c.execute(statement)
    return c


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


async def test_what_is_told_again_after_a_crash_is_recorded_once(database: Database) -> None:
    log, before = Audit(database), time.time()
    for _ in range(2):
        await log.record_once(deed(1), before)
        await log.record_once(deed(2, None), before)
    assert [record.deed for record in await log.newest(10)] == [deed(1), deed(2, None)]
    await log.record_once(deed(1), time.time() + 1)
    assert len(await log.newest(10)) == 3, "that was another time"


async def test_what_was_recorded_is_read_also_beside_a_daemon(database: Database, tmp_path: Path) -> None:
    log = Audit(database)
    await log.record(deed(1))
    await log.record(deed(2, None))
    refused = Deed("uid 1000", "socket", "room.pause", DeedOutcome.REFUSED, ROOM, "a" * 300, "why\nnot\ud800 \x1b[31m")
    await log.record(refused)
    assert [record.deed for record in await log.newest(10)][:2] == [deed(1), deed(2, None)]
    assert [record.number for record in await log.newest(1)] == [3]
    assert [record.number for record in await log.newest(10, ROOM)] == [1, 3]
    with reading(tmp_path) as c:
        kept = audit.read(c)[-1].deed
        assert (len(kept.subject), kept.detail) == (200, "why not   [31m")
        assert audit.verify(c).broken is None
        assert audit.read(c, since=4e9) == []
    with pytest.raises(StateError, match="readonly"), reading(tmp_path) as c:
        c.execute("DELETE FROM audit")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = '@mallory:x' WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit",
        "UPDATE audit_anchor SET number = 2",
        "UPDATE audit_anchor SET number = 2, hash = zeroblob(32)",
        "DELETE FROM audit_anchor",
    ],
)
def test_the_database_refuses_to_change_it(statement: str) -> None:
    c = chained(3)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        c.execute(statement)
    assert audit.verify(c).broken is None
    assert len(audit.read(c)) == 3


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        *[
            (f"UPDATE audit SET {column} = 'x' WHERE number = 3", 3)
            for column in ("who", "via", "what", "outcome", "room_id", "subject", "detail", "hash", "at")
        ],
        ("DELETE FROM audit WHERE number = 1", 1),
        ("DELETE FROM audit WHERE number = 3", 3),
        ("DELETE FROM audit WHERE number >= 4", 4),
        ("DELETE FROM audit", 1),
        ("UPDATE audit SET number = 9 WHERE number = 5", 5),
        ("UPDATE audit_anchor SET hash = randomblob(32)", 1),
    ],
)
def test_verify_names_the_first_line_that_was_tampered_with(statement: str, broken: int) -> None:
    assert audit.verify(tampered(5, statement)).broken == broken


@given(st.integers(1, 12), st.data())
def test_whatever_was_forgotten_the_rest_is_whole_and_goes_on(rows: int, data: st.DataObject) -> None:
    forgotten = data.draw(st.integers(0, rows))
    c = chained(0)
    for number in range(rows):
        audit.insert(c, [deed(number)], now=1000 if number < forgotten else 2000 - number)
    assert audit.forget(c, 1500) == forgotten
    assert audit.forget(c, 1500) == 0
    audit.insert(c, [Deed(DAEMON, DAEMON, "update")])
    chain = audit.verify(c)
    assert (chain.first, chain.last, chain.broken) == (forgotten + 1, rows + 1, None)
    assert len(audit.read(c)) == rows + 1 - forgotten


def test_a_recorded_deed_counts_with_its_transaction() -> None:
    c = chained(1)
    c.execute("BEGIN")
    audit.insert(c, [deed(1), deed(2)])
    c.execute("ROLLBACK")
    audit.insert(c, [deed(3)])
    chain = audit.verify(c)
    assert (chain.last, chain.broken) == (2, None)
