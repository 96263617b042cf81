"""A copy is of one moment, whole, and becomes the database again."""

import asyncio
import shutil
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import DAEMON, Account, Deed, UserId
from roommate.errors import StateError
from roommate.store import Audit, Database, Inbox, snapshots


async def test_a_copy_of_a_database_in_use_is_put_back(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "copy.db"
    database = Database.open(state)
    log = Audit(database)
    for number in range(5):
        await log.record(Deed(DAEMON, DAEMON, f"before-{number}"))

    async def write() -> None:
        for number in range(200):
            await log.record(Deed(DAEMON, DAEMON, f"after-{number}"))

    writing = asyncio.create_task(write())
    copied = await asyncio.to_thread(snapshots.copy, state, file)
    await writing
    assert copied.audit.broken is None
    assert 5 <= copied.audit.last <= 205
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path != state] == ["copy.db"], "nothing lies beside it"
    with pytest.raises(StateError, match="another Roommate runs"):
        snapshots.put_back(file, state)
    await database.close()
    (state / "roommate.db-wal").write_bytes(b"of a database that is no more")
    snapshots.put_back(file, state)
    database = Database.open(state)
    assert (await Audit(database).newest(1))[0].number == copied.audit.last
    await database.close()
    assert stat.S_IMODE((state / "roommate.db").stat().st_mode) == 0o600


async def test_a_login_that_was_renewed_since_stays(tmp_path: Path) -> None:
    """Its tokens are good once: those of the copy are dead by now. Also where the last process was killed."""
    state, file = tmp_path / "state", tmp_path / "copy.db"
    database = Database.open(state)
    inbox = Inbox(database)
    before = Account("https://example.org", UserId("@bot:example.org"), "D", "a1", "OAuth", "r1", 1.0, "client")
    await inbox.keep_account(before)
    await database.run(lambda c: c.execute("UPDATE sync SET since = 's1'"))
    snapshots.copy(state, file)
    after = replace(before, access_token="a2", refresh_token="r2", expires_at=2.0)
    await inbox.keep_account(after)
    await database.run(lambda c: c.execute("UPDATE sync SET since = 's2'"))
    crashed = tmp_path / "crashed"
    shutil.copytree(state, crashed)  # with a journal beside it that was not written back
    await database.close()
    for folder in (state, crashed):
        snapshots.put_back(file, folder)
        database = Database.open(folder)
        assert await Inbox(database).account() == after
        assert await Inbox(database).since() == "s1"
        await database.close()
    (state / "roommate.db").write_bytes(b"spoilt" * 1000)
    snapshots.put_back(file, state)
    database = Database.open(state)
    assert await Inbox(database).account() == before
    await database.close()


async def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        snapshots.copy(tmp_path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    await Database.open(tmp_path / "state").close()
    snapshots.copy(tmp_path / "state", tmp_path / "copy.db")
    with pytest.raises(StateError, match="cannot be copied"):
        snapshots.copy(tmp_path / "state", tmp_path / "copy.db")
    content = (tmp_path / "copy.db").read_bytes()
    (tmp_path / "short.db").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.db").write_bytes(b"text " * 1000)
    for name in ("short.db", "text.db"):
        with pytest.raises(StateError):
            snapshots.check(tmp_path / name)
    with sqlite3.connect(tmp_path / "copy.db") as c:
        assert c.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    c.close()
