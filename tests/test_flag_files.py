"""Files that say something by being there: each way in which they come and go is told, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roommate.host import flag_files
from roommate.host.flag_files import watch_flags


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[asyncio.Queue[set[str]]]:
    """The names that are there, each time that is told; the watch stands when it begins."""
    names: asyncio.Queue[set[str]] = asyncio.Queue()

    async def tell(found: Mapping[str, float]) -> None:
        names.put_nowait(set(found))

    watching = asyncio.create_task(watch_flags(folder, "PAUSE", "update.json", tell=tell))
    await asyncio.sleep(0)
    try:
        yield names
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_a_file_that_comes_or_goes_is_told(tmp_path: Path) -> None:
    flag, beside = tmp_path / "PAUSE", tmp_path / "beside"
    async with told(tmp_path) as names, asyncio.timeout(10):
        flag.touch()
        assert await names.get() == {"PAUSE"}
        flag.unlink()
        assert await names.get() == set()
        beside.write_text("{}")
        beside.replace(tmp_path / "update.json")
        assert await names.get() == {"update.json"}
        beside.write_text('{"step": "done"}')
        beside.replace(tmp_path / "update.json")
        assert await names.get() == {"update.json"}
        (tmp_path / "update.json").replace(beside)
        assert await names.get() == set()
        (tmp_path / "PAUSE_!room").mkdir()
        assert await names.get() == {"PAUSE_!room"}


async def test_many_changes_at_once_are_told_as_they_end(tmp_path: Path) -> None:
    async with told(tmp_path) as names, asyncio.timeout(10):
        for number in range(20_000):  # more than the kernel's queue has room for
            (tmp_path / f"other{number % 50}").touch()
        for room in range(50):
            (tmp_path / f"PAUSE_{room}").touch()
        while len(await names.get()) < 50:
            pass


async def test_other_files_are_not_told(tmp_path: Path) -> None:
    async with told(tmp_path) as names:
        (tmp_path / "roommate.db").write_text("much")
        (tmp_path / b"not \xff text".decode(errors="surrogateescape")).touch()
        await asyncio.sleep(0.3)
        assert names.empty()


async def test_a_folder_that_cannot_be_watched_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flag_files, "_RETRY_SECONDS", 0.1)
    folder = tmp_path / "state"
    async with told(folder) as names, asyncio.timeout(10):
        await asyncio.sleep(0.5)
        folder.mkdir()
        (folder / "PAUSE").touch()
        assert await names.get() == {"PAUSE"}
        (folder / "PAUSE").unlink()
        assert await names.get() == set()
        folder.rmdir()
        await asyncio.sleep(0.3)
        folder.mkdir()
        (folder / "PAUSE").touch()
        assert await names.get() == {"PAUSE"}
    assert ["cannot be watched" in one.getMessage() for one in caplog.records] == [True, True]
