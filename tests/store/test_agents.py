"""A room's coding agents and its sessions with them outlive the daemon."""

from pathlib import Path

from roommate.store import Agents, Database
from roommate.store.agents import forgetting_sessions, preferring
from roommate.words import RoomId

ROOM, OTHER = RoomId("!room"), RoomId("!other")


async def test_what_a_room_has_chosen_and_its_sessions_are_kept(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    agents = Agents(database)
    assert await agents.preferred(ROOM, "plan") == ()
    assert await agents.session(ROOM, "gemini") == ""
    await database.run(preferring(ROOM, "plan", ["claude", "gemini"]))
    await agents.keep_session(ROOM, "gemini", "one")
    await agents.keep_session(ROOM, "gemini", "two")
    await agents.keep_session(OTHER, "gemini", "theirs")
    await database.close()
    database = Database.open(tmp_path)
    agents = Agents(database)
    assert await agents.preferred(ROOM, "plan") == ("claude", "gemini")
    assert await agents.preferred(ROOM, "implement") == ()
    assert await agents.session(ROOM, "gemini") == "two"
    await database.run(preferring(ROOM, "plan", []))
    assert await agents.preferred(ROOM, "plan") == ()
    await database.run(forgetting_sessions(ROOM))
    assert await agents.session(ROOM, "gemini") == ""
    assert await agents.session(OTHER, "gemini") == "theirs"
    await database.close()
