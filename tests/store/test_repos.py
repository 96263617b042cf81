"""Which repositories a room may use outlives the daemon."""

from pathlib import Path

from roommate.domain import RoomId, UserId
from roommate.store import Database, Repos
from roommate.store.repos import granting, revoking

ROOM, OTHER, ALICE = RoomId("!room"), RoomId("!other"), UserId("@alice:x")


async def test_what_a_room_was_given_is_kept(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    await database.run(granting(ROOM, "Acme/Widget", ALICE))
    await database.run(granting(ROOM, "acme/another", ALICE))
    await database.run(granting(OTHER, "acme/theirs", ALICE))
    await database.close()
    database = Database.open(tmp_path)
    repos = Repos(database)
    assert await repos.of(ROOM) == ["acme/another", "Acme/Widget"]
    assert await repos.granted(ROOM, "acme/widget") == "Acme/Widget", "names do not tell cases apart"
    assert await repos.granted(ROOM, "acme/theirs") is None
    await database.run(granting(ROOM, "acme/widget", ALICE))
    assert await repos.of(ROOM) == ["acme/another", "acme/widget"], "as the forge writes it by now"
    assert await database.run(revoking(ROOM, "ACME/WIDGET"))
    assert not await database.run(revoking(ROOM, "ACME/WIDGET"))
    assert await repos.of(OTHER) == ["acme/theirs"]
    await database.close()
