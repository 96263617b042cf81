"""Health sees what became of the database's file, saves what can be saved, and ends the daemon."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.administration import storage_health
from roommate.administration.storage_health import Health
from roommate.errors import StateError, first
from roommate.store import Database, Rooms
from tests.patience import PATIENCE, until


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path / "state")
    yield database
    await database.close()


async def end_of(watched: Health) -> str:
    """Why it ended the daemon."""
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(PATIENCE):
            await watched.run()
    error = first(ended.value)
    assert isinstance(error, StateError)
    return str(error)


async def test_an_emptied_database_ends_the_daemon(database: Database) -> None:
    watched = Health(database)
    with database.file.open("r+b") as file:
        file.truncate()
    assert "was emptied while it was in use: put a backup back" in await end_of(watched)
    with pytest.raises(StateError, match="emptied"):
        await Rooms(database).joined()


async def test_nothing_is_put_where_another_disk_is_by_now(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Health(database)
    monkeypatch.setattr(watched, "_of_disk", -1)
    database.file.unlink()
    assert "mount the right one and start again" in await end_of(watched)
    assert not database.file.exists()


async def test_a_state_folder_that_is_gone_is_said_to_be(database: Database, tmp_path: Path) -> None:
    watched = Health(database)
    database.file.parent.rename(tmp_path / "elsewhere")
    assert "was deleted while it was in use: it could not be saved" in await end_of(watched)


async def test_all_is_well_where_nothing_happened(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_health, "LOOK_SECONDS", 0.01)
    watched = Health(database)
    running = asyncio.create_task(watched.run())
    await asyncio.sleep(0.2)
    assert not running.done()
    assert watched.trouble == ""
    running.cancel()


async def test_a_disk_that_takes_nothing_is_trouble_until_it_does(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_health, "RETRY_SECONDS", 0.01)
    watched = Health(database)
    await database.run(lambda c: c.execute("UPDATE sync SET since = 's0'"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StateError):
            await database.run(lambda c: c.execute("UPDATE sync SET since = 's1'"))
        running = asyncio.create_task(watched.run())
        for _ in range(20):
            assert "is full or does not write" in watched.trouble
            await asyncio.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await until(lambda: watched.trouble == "")
    running.cancel()


def test_a_night_is_four_in_the_morning_where_the_host_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    try:
        four = 4 * 3600
        for now, seconds in ((0, four), (four - 1, 1), (four - 0.5, 86_400.5), (four, 86_400), (four + 60, 86_340)):
            assert storage_health._seconds_until(4, now) == pytest.approx(seconds)
    finally:
        monkeypatch.undo()
        time.tzset()
