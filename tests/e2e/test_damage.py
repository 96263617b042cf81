"""What becomes of the state when the host fails it: the daemon says so, and keeps what can be kept."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from roommate.store import reading
from tests.cli.test_commands import roommate
from tests.conftest import MakeDaemon
from tests.harness import Daemon, notice, tool
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]

DAMAGED, EX_TEMPFAIL = 2, 75
WRITE = tool("write_file", path="kept.txt", content="still here") + "\n---\nSAY written"


async def ended(bot: Daemon) -> str:
    """The last line of a daemon that has ended, as it should when its state is not to be trusted."""
    assert await bot.wait_for_exit() == EX_TEMPFAIL, bot.log_text()[-2000:]
    return bot.log_text().splitlines()[-1]


async def refused(bot: Daemon) -> str:
    await bot.spawn()
    return await ended(bot)


async def test_a_database_that_is_taken_away_is_put_back_or_saved_beside(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY the first")
    database = bot.state / "roommate.db"
    for beside in ("", "-wal", "-shm"):
        (bot.state / f"roommate.db{beside}").unlink()
    await alice.ask(room, "SAY the second")
    assert "was deleted while it was in use: it was put back as it was, and nothing is lost" in await ended(bot)
    await bot.start()
    await alice.ask(room, "SAY the third")
    with reading(bot.state) as c:
        assert c.execute("SELECT count(*) FROM turns WHERE stop='done'").fetchone() == (3,)
    assert [m.body for m in alice.finals(room)] == ["the first", "the second", "the third"]

    other = bot.state / "other.db"
    other.write_bytes(database.read_bytes())
    other.replace(database)
    assert "was replaced by another file while it was in use: what the daemon knew is in" in await ended(bot)
    [saved] = bot.state.glob("roommate.db.rescued-*")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert not (bot.state / "roommate.db-wal").exists(), "it is of the database that was there before"


async def test_a_database_that_was_lost_is_not_begun_anew_in_silence(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    await alice.ask(room, WRITE)
    await bot.term()
    database = bot.state / "roommate.db"
    kept = database.read_bytes()
    for lose in (database.unlink, lambda: database.write_bytes(b"")):
        lose()
        line = await refused(bot)
        assert "although rooms have files beside it" in line
        assert "`roommate restore FILE`" in line
        assert "to begin anew on purpose" in line
        code, out, _ = await roommate(bot.folder, "doctor", "--json", **bot.settings)
        assert code == DAMAGED
        assert [one["level"] for one in json.loads(out) if one["what"] == "database"] == ["fail"]
    database.write_bytes(kept)
    await bot.start()
    assert (await alice.ask(room, "SAY back again")).body == "back again"
    await bot.term()
    database.unlink()
    (bot.state / "rooms").rename(bot.state / "rooms-of-before")
    await bot.start()


async def test_spoilt_pages_are_found_by_doctor_at_night_and_when_they_are_read(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    alice = await person("alice")
    bot = await daemon()
    room = await bot.room_with(alice)
    await alice.ask(room, "hello")
    await bot.term()
    spoil(bot.state, "audit_of")  # nothing reads that while the daemon starts
    code, out, _ = await roommate(bot.folder, "doctor", "--json", **bot.settings)
    [found] = [one for one in json.loads(out) if one["what"] == "database"]
    assert (code, found["level"]) == (DAMAGED, "fail"), found
    assert "roommate restore FILE" in found["mend"]

    now = time.gmtime(time.time() + 20)  # a place on Earth where it is four at night in 20 s
    west = (now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec - 4 * 3600) % 86_400
    bot.settings["TZ"] = f"XXX{west // 3600:02}:{west % 3600 // 60:02}:{west % 60:02}"
    await bot.start()
    await bot.wait_for_log("is damaged (")
    status = json.loads((await roommate(bot.folder, "status", "--json", **bot.settings))[1])
    assert status["state"] == "trouble"
    assert "is damaged" in status["trouble"]
    await bot.term()

    spoil(bot.state, "inbox")
    await bot.start()
    await alice.say(room, "hello again")
    line = await ended(bot)
    assert "is damaged (database disk image is malformed)" in line
    assert "roommate restore FILE" in line


def spoil(state: Path, name: str) -> None:
    """Write rubbish over the first page of a table or an index."""
    with reading(state) as c:
        [page] = c.execute("SELECT rootpage FROM sqlite_master WHERE name=?", (name,)).fetchone()
        [size] = c.execute("PRAGMA page_size").fetchone()
    with (state / "roommate.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


async def test_a_full_disk_is_told_and_all_goes_on_when_there_is_room(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice, operator = await person("alice"), await person("operator")
    bot = await daemon(start=False, model=model, OPERATORS=operator.user_id, LOG_FILE_MB="0")
    bot.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", bot.state], check=True)
    await bot.start()
    control = await bot.room_with(operator, name="operators")
    await bot.term()
    bot.settings["CONTROL_ROOM"] = control
    await bot.start()
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY before")
    fill(bot.state / "low", leave=1 << 20)
    await bot.wait_for_log("is free: nothing goes on when it is full")
    _, out, _ = await roommate(bot.folder, "doctor", "--json", **bot.settings)
    assert "warn" in [one["level"] for one in json.loads(out) if one["what"] == "disk"], out

    fill(bot.state / "full", leave=0)
    for number in range(3):
        await alice.say(room, f"SAY number {number}")
    await bot.wait_for_log("is full or does not write")
    await operator.wait(
        lambda: any("is full or does not write" in m.body for m in bot.said(operator, control)), what="the warning"
    )
    status = json.loads((await roommate(bot.folder, "status", "--json", **bot.settings))[1])
    assert status["state"] == "trouble", status
    await asyncio.sleep(6)  # several tries
    (bot.state / "full").unlink()
    (bot.state / "low").unlink()
    await alice.wait(lambda: len(alice.finals(room)) == 4, what="the answers")
    assert "takes what is written again" in bot.log_text()
    status = json.loads((await roommate(bot.folder, "status", "--json", **bot.settings))[1])
    assert (status["state"], status["trouble"]) == ("ready", "")
    await alice.say(room, "!ping")
    await notice(bot, alice, room, "Pong")
    assert [m.body for m in alice.finals(room)] == ["before", "number 0", "number 1", "number 2"]


def fill(file: Path, leave: int) -> None:
    """Make a file so large that the disk has no more than so many bytes left."""
    disk = os.statvfs(file.parent)
    with file.open("wb") as out:
        left = disk.f_bavail * disk.f_frsize - leave
        try:
            while left > 0:
                left -= out.write(bytes(min(left, 1 << 16)))
                out.flush()
        except OSError:
            pass
