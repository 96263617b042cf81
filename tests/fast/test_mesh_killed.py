"""Two daemons, of which one is killed at every commit of a request's life in turn: what was asked runs once at most,
and has one end, in the room and where it was asked."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import roommate.daemon
from roommate.errors import ControlError
from roommate.features.mesh.envelope import REPLY, REQUEST
from roommate.store import power_cut
from tests.conftest import PASSWORD
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.mortal import MortalDaemon, MortalDatabase
from tests.fast.conftest import MakePerson
from tests.fast.test_mesh_asking import Stream
from tests.fast.test_mesh_pair import POLICY, befriend
from tests.patience import PATIENCE, until
from tests.person import Person

_numbers = itertools.count(1)


@dataclass
class Two:
    laptop: MortalDaemon
    builder: MortalDaemon
    alice: Person
    room: str

    def ends(self, token: str) -> list[str]:
        """The last words that are in the room to what was asked with this word."""
        ids = [one.content["id"] for one in self.alice.seen if one.type == REQUEST and token in str(one.content)]
        assert len(ids) <= 1, "it was asked twice"
        last = (one.content["body"] for one in self.alice.seen
                if one.type == REPLY and one.content["request"] in ids)  # fmt: skip
        return [str(body.get("code", body["kind"])) for body in last if body["kind"] in ("result", "refused")]

    def heard(self, token: str) -> list[str]:
        """What the asking daemon has as their end, of those that it has asked; "" while it has none."""
        with sqlite3.connect(self.laptop.state / "roommate.db") as c:
            rows = c.execute("SELECT result FROM mesh_asked WHERE params LIKE ?", (f"%{token}%",)).fetchall()
        c.close()
        results = [json.loads(result) if result else {} for (result,) in rows]
        return [str(one.get("code", one.get("kind", ""))) for one in results]

    async def end(self, token: str) -> list[str]:
        """The same when there are no more to come, at either end."""

        def over() -> bool:
            with sqlite3.connect(self.builder.state / "roommate.db") as c:
                [open_there] = c.execute("SELECT count(*) FROM mesh_requests WHERE state != 'done'").fetchone()
            c.close()
            return not open_there and "" not in self.heard(token)

        await until(over, f"the end of {token}")
        return self.heard(token)

    def ran(self, token: str) -> int:
        [ran] = self.builder.state.rglob("ran")
        return ran.read_text().split().count(token)


@pytest.fixture
async def two(homeserver: MemoryHomeserver, person: MakePerson, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(roommate.daemon, "Database", MortalDatabase)
    alice = await person("alice")
    laptop, builder = [
        MortalDaemon(homeserver, homeserver.register(f"mortal-{next(_numbers)}", PASSWORD)) for _ in range(2)
    ]
    try:
        for one in (laptop, builder):
            await one.start()
        room = await laptop.room_with(alice)
        await alice.invite(room, builder.user_id)
        await alice.wait_for_member(room, builder.user_id)
        (builder.state / "policy.toml").write_text(POLICY)
        await befriend(laptop, builder, "builder")
        await befriend(builder, laptop, "laptop")
        yield Two(laptop, builder, alice, room)
    finally:
        for one in (laptop, builder):
            print(f"── {one.user_id} ──\n{one.log_text()[-20_000:]}")
            await one.discard()


@pytest.mark.parametrize("side", ["laptop", "builder"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_killed_at_every_commit(two: Two, side: str, before: bool) -> None:
    """The first of its life, then the second, and so on until it comes to its end unharmed."""
    mortal: MortalDaemon = getattr(two, side)
    await ask(two, "begin")
    seen: dict[str, str] = {}
    for point in itertools.count(1):
        token = f"tok{point:03}"
        mortal.life.ends(point, before=before)
        asking = asyncio.create_task(ask(two, token))
        over = asyncio.create_task(mortal.life.over.wait())
        await asyncio.wait([asking, over], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if mortal.life.lives_on():
            break
        await mortal.bury()
        await mortal.start()
        with suppress(ControlError):
            await asking
        heard = await two.end(token)
        assert two.ends(token) == heard, (token, two.ends(token), heard)
        [seen[token]] = heard or ["never asked"]
        assert two.ran(token) in {"result": (1,), "unknown": (0, 1)}.get(seen[token], (0,)), (token, seen[token])
    assert len(seen) > 5
    assert {"result"} <= set(seen.values()) <= {"result", "unknown", "never asked"}


async def test_a_power_cut_takes_the_row_of_an_end_and_not_the_end(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told already: who asked keeps it, whatever the daemon says that has forgotten it. Nothing runs twice."""
    await ask(two, "begin")
    asking = asyncio.create_task(ask(two, "cut", "while [ ! -e over ]; do sleep 0.02; done"))
    await until(lambda: two.ran("cut"), "the program")
    state, kept = two.builder.state, tmp_path / "kept"
    kept.mkdir()
    with sqlite3.connect(state / "roommate.db") as c:
        c.execute("VACUUM INTO ?", (str(kept / "roommate.db"),))
    c.close()
    [ran] = state.rglob("ran")
    ran.with_name("over").touch()
    assert (await asking)["code"] == 0
    await until(lambda: two.ends("cut") == ["result"], "the end in the room")

    two.builder.life.cut()
    await two.builder.bury()
    for file in state.glob("roommate.db*"):
        file.unlink()
    shutil.copy(kept / "roommate.db", state)
    (state / "roommate.db-wal").touch()  # nobody had closed it
    (tmp_path / "boot_id").write_text("another start of the host\n")
    monkeypatch.setattr(power_cut, "BOOT", tmp_path / "boot_id")
    await two.builder.start()
    assert await two.end("cut") == ["result"]
    await until(lambda: two.ends("cut") == ["result", "unknown"], "what the daemon knows of it")
    assert two.ran("cut") == 1
    assert (await ask(two, "later"))["code"] == 0
    assert await two.end("cut") == ["result"]


async def test_a_full_disk_delays_an_end_and_takes_none_away(two: Two) -> None:
    """Once it has room again nobody need start anything anew."""
    await ask(two, "begin")
    asking = asyncio.create_task(ask(two, "full", "while [ ! -e over ]; do sleep 0.02; done"))
    await until(lambda: two.ran("full"), "the program")
    two.builder.life.disk_is_full = True
    [ran] = two.builder.state.rglob("ran")
    ran.with_name("over").touch()
    await until(lambda: "a request waits" in two.builder.log_text(), "the request that waits")
    two.builder.life.disk_is_full = False
    with suppress(ControlError):
        await asking
    heard = await two.end("full")
    assert heard == two.ends("full")
    assert heard in (["result"], ["unknown"])


async def ask(two: Two, token: str, then: str = "sleep 0.32") -> Any:
    argv = ["sh", "-c", f"echo {token} >>ran; echo hello; {then}"]
    return await Stream(two.laptop).ask("mesh.exec", peer="builder", argv=argv).result()
