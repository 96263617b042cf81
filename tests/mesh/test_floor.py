"""Who does not know what it has seen refuses what was issued before; whose key is younger has seen nothing."""

from __future__ import annotations

import time
from pathlib import Path

from roommate.domain import EventId
from roommate.store import Claim, Database
from roommate.store.mesh_nonces import claiming


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
