"""What a room owns becomes another room's, all of it, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.domain import (
    Answer,
    CardKind,
    Deed,
    Destination,
    Draft,
    EventId,
    Happening,
    Incoming,
    Message,
    Prompt,
    Question,
    Rank,
    Redaction,
    RoomId,
    RoomState,
    Stop,
    SyncBatch,
    Tombstone,
    Usage,
    UserId,
)
from roommate.store import (
    AgentUsages,
    Cards,
    Database,
    Egress,
    Inbox,
    Outbox,
    Pauses,
    Repos,
    Rooms,
    Turns,
    Upgrade,
    Upgrades,
    mark_of,
)
from roommate.store.egress import opening
from roommate.store.migrations import migrate
from roommate.store.pauses import pausing
from roommate.store.repos import granting
from roommate.store.room_settings import RoomSettings, setting
from roommate.store.rooms import setting_model

OLD, NEW, ALICE = RoomId("!old"), RoomId("!new"), UserId("@alice:x")
ASIDE = RoomId("!aside")
MOVED = Draft(NEW, {"body": "moved"})
DEED = Deed(ALICE, "$end", "room.upgrade")

OWNED = frozenset(
    {
        "rooms",
        "inbox",
        "conversations",
        "outbox",
        "turns",
        "cards",
        "agents_preferred",
        "egress",
        "egress_presets",
        "agent_usage",
        "ipc",
        "pauses",
        "repos",
        "room_settings",
        "received_files",
        "background_jobs",
        "feedback",
        "schedules",
        "spending",
        "tokens_spent",
    }
)
LEFT = frozenset({"audit", "mesh_asked", "mesh_events", "mesh_requests"})
"""Of what was: it is not changed; and what is bound to the room that it was said in."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    one = Database.open(tmp_path)
    yield one
    await one.close()


def happened(event: str, what: Happening, room: RoomId = OLD) -> Incoming:
    return Incoming(EventId(event), room, ALICE, 1, what)


async def come(database: Database, *incoming: Incoming) -> list[int]:
    """Gives the rows that wait in the old room then."""
    inbox = Inbox(database)
    states = tuple(RoomState(room, "join", 2) for room in (OLD, NEW))
    await inbox.commit(SyncBatch("s", states, incoming))
    return [row.seq for row in await inbox.waiting(OLD)]


async def move(database: Database) -> None:
    """Twice, as after a crash."""
    upgrades = Upgrades(database)
    upgrade = await upgrades.of(OLD)
    assert isinstance(upgrade, Upgrade)
    [*_, seq] = await come(database)
    contents = {card: {"body": "asked again", "m.relates_to": {}} for card in await upgrades.cards(OLD)}
    await upgrades.move(seq, upgrade, contents, MOVED, DEED)
    await upgrades.move(seq, upgrade, contents, MOVED, DEED)


def test_nothing_that_belongs_to_a_room_is_forgotten() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    of_rooms = {
        table
        for table in tables
        if "room_id" in [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
    }
    assert of_rooms == OWNED | LEFT, "store/room_upgrades.py has to know what becomes of it"


async def test_settings_grants_and_sums_go_over(database: Database) -> None:
    await come(database, happened("$1", Message("one")), happened("$end", Tombstone(NEW)))
    rule = Destination("example.org", 0)
    for work in (
        setting_model(OLD, "fine"),
        setting(OLD, "memory", "4096"),
        setting(OLD, "cpus", "1"),
        setting(NEW, "cpus", "2"),
        opening(OLD, rule, ALICE),
        opening(NEW, rule, ALICE),
        granting(OLD, "acme/widget", ALICE),
        pausing(OLD, "@op:x"),
    ):
        await database.run(work)
    usages = AgentUsages(database)
    for room in (OLD, NEW, OLD):
        await usages.count(room, "gemini", "m", Usage(10, 1))
    await move(database)
    row = await Rooms(database).get(NEW)
    assert (row.model, row.membership, row.replaces) == ("fine", "join", False)
    assert (await Rooms(database).get(OLD)).replaced == "moved"
    assert await Egress(database).rules(NEW) == [rule]
    assert await Egress(database).rules(OLD) == []
    assert await Repos(database).of(NEW) == ["acme/widget"]
    assert await RoomSettings(database).of(NEW) == {"cpus": "2", "memory": "4096"}
    assert await RoomSettings(database).of(OLD) == {}
    assert [pause.room_id for pause in await Pauses(database).all()] == [NEW]
    [used] = await usages.of(NEW)
    assert (used.requests, used.usage) == (3, Usage(30, 3))


async def test_conversations_go_over_and_the_running_turn_is_unfinished_there(database: Database) -> None:
    inbox, turns, outbox = Inbox(database), Turns(database), Outbox(database)
    seqs = await come(
        database,
        happened("$1", Message("one")),
        happened("$2", Message("two", thread=EventId("$root"))),
        happened("$3", Message("three", thread=EventId("$root"), reply_to=EventId("$x"))),
        happened("$end", Tombstone(NEW)),
    )
    first = await turns.begin(seqs[0], OLD, None, Prompt("one", ALICE), "m")
    assert first
    await turns.end(first, Stop.DONE, Answer("1"), Usage(5, 5, 0.5), [])
    second = await turns.begin(seqs[1], OLD, EventId("$root"), Prompt("two", ALICE), "m")
    assert second
    await turns.show(second, Draft(OLD, {"body": "working"}, Rank.SIGN))
    await inbox.queue(seqs[2], Draft(OLD, {}, Rank.SIGN, "m.reaction", once=mark_of(seqs[2])))
    await move(database)
    [taken_up] = await turns.unfinished(NEW)
    assert (taken_up.id, taken_up.thread, taken_up.live) == (second.id, None, None)
    assert await turns.conversation(taken_up, 1000) == [[Prompt("two", ALICE)]]
    assert (await turns.spending(NEW)).turns == 2
    assert (await turns.spending(OLD)).turns == 0
    [waits] = await inbox.waiting(NEW)
    assert waits.queued
    assert waits.incoming.what == Message("three")
    third = await turns.begin(waits.seq, NEW, None, Prompt("three", ALICE), "m")
    assert third
    assert await turns.conversation(third, 1000) == [[Prompt("one", ALICE), Answer("1")], [Prompt("three", ALICE)]]
    assert [row.draft for row in await outbox.unsent()] == [MOVED], "and no mark is taken off in the old room"


async def test_what_could_not_be_said_in_the_old_room_is_said_in_the_new_one(database: Database) -> None:
    outbox, cards = Outbox(database), Cards(database)
    before, late, refused = await outbox.put([Draft(OLD, {"body": text}) for text in ("before", "late", "refused")])
    await outbox.failed(before, "M_FORBIDDEN, long ago")
    card = await cards.put(Question(CardKind.RESET_WORKSPACE, "?"), Draft(OLD, {"body": "?"}, Rank.CARD))
    [*_, row] = await outbox.unsent()
    await outbox.sent(row.id, "$card")
    asked = await cards.put(Question(CardKind.EGRESS, "?", subject="a:1"), Draft(OLD, {"body": "unsent?"}, Rank.CARD))
    await come(database, happened("$end", Tombstone(NEW)))
    await outbox.failed(refused, "the homeserver did not send: M_FORBIDDEN You don't have permission")
    threaded = {"body": "in a thread", "m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}
    await outbox.put(
        [Draft(OLD, threaded, edits=late), Draft(OLD, {}, redacts=late), Draft(RoomId("!x"), {"body": "x"})]
    )
    await move(database)
    said = [row.draft for row in await outbox.unsent() if row.draft.room_id == NEW]
    bodies = [draft.content["body"] for draft in said]
    assert bodies == ["moved", "late", "refused", "unsent?", "in a thread", "asked again"]
    assert all("m.relates_to" not in draft.content and draft.edits is None for draft in said)
    assert [row.draft.content["body"] for row in await outbox.unsent() if row.draft.room_id != NEW] == ["x"]
    for row in await outbox.unsent():
        await outbox.sent(row.id, f"${row.draft.content['body']}")
    opened = [await cards.open(NEW, EventId(event)) for event in ("$asked again", "$unsent?")]
    assert [one.id for one in opened if one] == [card, asked]


async def test_a_tombstone_counts_once_and_a_newer_one_before_the_move(database: Database) -> None:
    upgrades = Upgrades(database)
    await come(database, happened("$end", Tombstone(NEW)), happened("$end", Tombstone(RoomId("!other"))))
    upgrade = await upgrades.of(OLD)
    assert upgrade
    assert upgrade.new == NEW
    assert await upgrades.newest(OLD) == OLD
    await come(database, happened("$again", Tombstone(RoomId("!other"))))
    assert (await upgrades.of(OLD)) == Upgrade(OLD, RoomId("!other"), EventId("$again"), ALICE, upgrade.state)
    await move(database)
    await come(database, happened("$late", Tombstone(NEW)))
    moved = await upgrades.of(OLD)
    assert moved
    assert moved.state == "moved"
    assert await upgrades.newest(OLD) == "!other"


async def test_a_tombstone_that_is_taken_back_holds_nobody_up(database: Database) -> None:
    await come(database, happened("$end", Tombstone(NEW)))
    assert (await Rooms(database).get(NEW)).replaces
    assert await come(database, happened("$r", Redaction(EventId("$end")))) == []
    assert not (await Rooms(database).get(NEW)).replaces
    assert (await Rooms(database).get(OLD)).replaced == "refused"


async def test_rooms_that_replace_each_other_do_not_wait_for_each_other(database: Database) -> None:
    third, rooms = RoomId("!third"), Rooms(database)
    await come(
        database,
        happened("$2", Tombstone(NEW)),
        happened("$1", Tombstone(third), NEW),
        happened("$3", Tombstone(OLD), third),
        happened("$0", Tombstone(NEW), ASIDE),
    )
    await Inbox(database).commit(SyncBatch("t", tuple(RoomState(room, "join", 2) for room in (third, ASIDE)), ()))

    async def waits() -> dict[str, bool]:
        every = {str(row.room_id): row.replaces for row in await rooms.all()}
        assert every == {room: (await rooms.get(RoomId(room))).replaces for room in every}
        return every

    assert await waits() == {OLD: True, NEW: True, third: True, ASIDE: False}
    [aside] = await Inbox(database).waiting(ASIDE)
    upgrade = await Upgrades(database).of(ASIDE)
    assert upgrade
    await Upgrades(database).refused(aside.seq, upgrade, [], DEED)
    assert await waits() == {OLD: True, NEW: False, third: True, ASIDE: False}, "one is looked at, by its tombstone"
    await come(database, happened("$4", Tombstone(ASIDE), ASIDE))
    assert not (await waits())[ASIDE], "it would wait for itself"


@pytest.mark.parametrize("forgotten", [False, True])
async def test_who_was_invited_at_last_goes_on_with_it(database: Database, forgotten: bool) -> None:
    upgrades = Upgrades(database)
    [seq] = await come(database, happened("$end", Tombstone(NEW)))
    upgrade = await upgrades.of(OLD)
    assert upgrade
    await upgrades.uninvited(seq, upgrade, [])
    row = await Rooms(database).get(NEW)
    assert not row.replaces, "neither room waits for an invitation"
    if forgotten:
        await database.run(lambda c: c.execute("DELETE FROM inbox"))
    for _ in range(2):
        await upgrades.again(upgrade)
    [waits] = await Inbox(database).waiting(OLD)
    assert (waits.incoming.event_id, waits.incoming.what) == ("$end", Tombstone(NEW))
    await move(database)
    await upgrades.again(upgrade)
    assert await Inbox(database).waiting(OLD) == []
