"""A room's coding agents and its conversations' sessions with them outlive the daemon."""

from pathlib import Path

from roommate.domain import EventId, Incoming, Message, Prompt, RoomId, SyncBatch, UserId
from roommate.store import Agents, Database, Inbox, Turns
from roommate.store.agent_sessions import preferring
from roommate.store.turns import clearing, clearing_all

ROOM, OTHER, ALICE, THREAD = RoomId("!room"), RoomId("!other"), UserId("@alice:x"), EventId("$root")


async def test_what_a_room_has_chosen_is_kept(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    agents = Agents(database)
    assert await agents.preferred(ROOM, "plan") == ()
    await database.run(preferring(ROOM, "plan", ["claude", "gemini"]))
    await database.close()
    database = Database.open(tmp_path)
    agents = Agents(database)
    assert await agents.preferred(ROOM, "plan") == ("claude", "gemini")
    assert await agents.preferred(ROOM, "implement") == ()
    await database.run(preferring(ROOM, "plan", []))
    assert await agents.preferred(ROOM, "plan") == ()
    await database.close()


async def test_a_session_belongs_to_its_conversation_and_is_forgotten_with_it(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    agents, inbox, turns = Agents(database), Inbox(database), Turns(database)
    places = [(ROOM, None), (ROOM, THREAD), (OTHER, None)]
    said = [Incoming(EventId(f"${n}"), room, ALICE, 1, Message("x", place)) for n, (room, place) in enumerate(places)]
    await inbox.commit(SyncBatch("s", (), tuple(said)))
    begun = [await turns.begin(n, *place, Prompt("x", ALICE), "m") for n, place in enumerate(places, 1)]
    main, side, theirs = (turn.conversation_id for turn in begun if turn)
    assert await agents.session(main, "gemini") == ""
    for conversation, session in ((main, "zero"), (main, "one"), (side, "two"), (theirs, "three")):
        await agents.keep_session(conversation, "gemini", session)
    await database.close()
    database = Database.open(tmp_path)
    agents = Agents(database)
    assert [await agents.session(one, "gemini") for one in (main, side, theirs)] == ["one", "two", "three"]
    await database.run(clearing(ROOM, THREAD))
    assert [await agents.session(one, "gemini") for one in (main, side, theirs)] == ["one", "", "three"]
    assert await database.run(clearing_all(ROOM)) == 1
    assert [await agents.session(one, "gemini") for one in (main, side, theirs)] == ["", "", "three"]
    await database.close()
