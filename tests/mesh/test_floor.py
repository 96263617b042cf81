"""Who does not know what it has seen refuses what was issued before; whose key is younger has seen nothing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from roommate.domain import EventId
from roommate.store import Claim, Database, Nonces, mesh_nonces, power_cut
from roommate.store.mesh_nonces import AHEAD, claiming


async def test_a_floor_of_before_the_key_was_made_means_nothing(tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    database = Database.open(tmp_path)
    try:
        now = int(time.time() * 1000)
        asked = EventId("$one"), now, now + 60_000, now
        assert await database.run(claiming("key", "n1", "r1", *asked, made=before - 1)) is Claim.BELOW_FLOOR
        assert await database.run(claiming("key", "n1", "r1", *asked, made=now + 1)) is Claim.NEW
        assert await database.run(claiming("key", "n1", "r2", *asked, made=now + 1)) is Claim.SEEN
    finally:
        await database.close()


async def test_room_is_made_in_small_steps_and_by_whoever_has_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made on the event loop."""
    for name, number in (("MOST_OF_A_KEY", 5), ("MOST", 11), ("FORGOTTEN_AT_ONCE", 2)):
        monkeypatch.setattr(mesh_nonces, name, number)
    now = int(time.time() * 1000)
    database = Database.open(tmp_path)

    async def ask(key: str, nonce: str, at: int) -> Claim:
        asked = EventId(f"${nonce}"), now + 2 * AHEAD, at + 60_000, at
        return await database.run(claiming(key, f"{key} {nonce}", f"{key} {nonce}", *asked))

    async def counts() -> dict[str, int]:
        kept = dict(await database.rows("SELECT key, nonces FROM mesh_counts"))
        assert dict(await database.rows("SELECT key, count(*) FROM mesh_nonces GROUP BY key")) == kept
        return kept

    try:
        for key in "ab":
            assert [await ask(key, str(number), now) for number in range(5)] == [Claim.NEW] * 5
        assert await ask("a", "more", now) is Claim.FULL
        later = now + 60_001
        assert await ask("b", "later", later) is Claim.NEW
        assert await counts() == {"a": 5, "b": 4}
        assert [await ask("c", str(number), later) for number in range(3)] == [Claim.NEW] * 3
        assert sum((await counts()).values()) == 10, "all had too much together"
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("started_again", "closed", "lost"),
    [
        pytest.param(True, False, True, id="power cut"),
        pytest.param(False, False, False, id="killed"),
        pytest.param(True, True, False, id="shut down"),
    ],
)
async def test_what_was_issued_before_a_power_cut_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, started_again: bool, closed: bool, lost: bool
) -> None:
    there, now = tmp_path / "there", int(time.time() * 1000)
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(power_cut, "BOOT", boot)
    database = Database.open(there)
    shutil.copytree(there, tmp_path / "cut")  # the log is beside it
    await database.close()
    folder = there if closed else tmp_path / "cut"
    if started_again:
        boot.write_text("second\n")
    for _ in range(2):  # it stays so
        after = Database.open(folder)
        try:
            started = int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)
            for issued, lost_then in ((started + AHEAD - 5000, lost), (started + AHEAD + 5000, False)):
                await after.run(lambda c: c.execute("UPDATE mesh_floor SET issued=0"))
                asked = EventId("$one"), issued, now + 60_000, now
                counts = await after.run(claiming("key", f"n{issued}", f"r{issued}", *asked))
                assert counts is (Claim.LOST if lost_then else Claim.NEW)
                looked = await Nonces(after).look("key", f"m{issued}", f"s{issued}", *asked)
                assert looked is counts
                assert await Nonces(after).still_counts(issued, 0) is Claim.NEW, "its row says what became of it"
                await after.run(lambda c: c.execute("DELETE FROM mesh_nonces"))
        finally:
            await after.close()
