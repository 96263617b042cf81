"""What other daemons say is kept with the sync that brought it, apart from what people say, and not without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import MESH_REQUEST, EventId, Incoming, MeshEvent, Redaction, RoomId, SyncBatch, UserId
from roommate.store import Database, Inbox, MeshEvents, mesh_events

ROOM = RoomId("!room")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


def asked(event: str, room: RoomId = ROOM) -> Incoming:
    return Incoming(EventId(event), room, UserId("@builder:x"), 5, MeshEvent(MESH_REQUEST, {"id": event, "n": [1]}))


async def test_it_waits_in_order_and_is_never_there_again_once_taken(database: Database) -> None:
    inbox, events = Inbox(database), MeshEvents(database)
    await inbox.commit(SyncBatch("s1", (), (asked("$1"), asked("$2"), asked("$1"))))
    first, _ = await events.waiting(ROOM)
    assert (first.event_id, first.room_id, first.sender, first.content) == (
        "$1", ROOM, "@builder:x", {"id": "$1", "n": [1]},
    )  # fmt: skip
    assert await inbox.waiting(ROOM) == []
    await events.taken(first)
    await inbox.commit(SyncBatch("s2", (), (asked("$1"), asked("$3"))))
    assert [one.event_id for one in await events.waiting(ROOM)] == ["$2", "$3"]


async def test_a_removed_one_is_gone_before_it_is_taken_and_told_of_while_its_request_is_open(
    database: Database,
) -> None:
    inbox, events = Inbox(database), MeshEvents(database)
    redaction = Incoming(EventId("$r"), ROOM, UserId("@builder:x"), 6, Redaction(EventId("$1")))
    await inbox.commit(SyncBatch("s1", (), (asked("$1"), redaction, asked("$1"))))
    assert await events.waiting(ROOM) == []
    await database.run(
        lambda c: c.execute(
            """INSERT INTO mesh_requests (peer, request, event_id, room_id, sender, method, content, digest, expires,
                 state, came) VALUES ('k', 'u', '$2', ?, '@builder:x', 'exec', '{}', 'd', 9, 'held', 1)""",
            (ROOM,),
        )
    )
    elsewhere = replace(redaction, event_id=EventId("$r1"), room_id=RoomId("!other"), what=Redaction(EventId("$2")))
    here = replace(redaction, event_id=EventId("$r2"), what=Redaction(EventId("$2")))
    await inbox.commit(SyncBatch("s2", (), (elsewhere, here)))
    [told] = await events.waiting(ROOM)
    assert (told.type, told.content) == (mesh_events.REDACTED, {"redacts": "$2"})


async def test_a_flood_in_one_room_fills_no_disk_and_leaves_the_others_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_events, "MOST_WAITING", 3)
    inbox, events = Inbox(database), MeshEvents(database)
    flood = tuple(asked(f"${number}") for number in range(9))
    await inbox.commit(SyncBatch("s1", (), (*flood, asked("$other", RoomId("!other")))))
    assert {room: len(found) for room, found in (await events.by_room()).items()} == {"!other": 1, ROOM: 3}
    assert [one.event_id for one in await events.waiting(ROOM)] == ["$0", "$1", "$2"]
    assert [one.event_id for one in await events.waiting(RoomId("!other"))] == ["$other"]
