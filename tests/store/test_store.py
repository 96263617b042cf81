"""The store keeps what it took, once, in order, and gives it back after a crash."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import (
    Answer,
    CardKind,
    Deed,
    Draft,
    Edit,
    EventId,
    Incoming,
    Message,
    Picture,
    Prompt,
    Question,
    Rank,
    Redaction,
    RoomId,
    RoomState,
    SentFile,
    Stop,
    SyncBatch,
    ToolCall,
    ToolResult,
    Usage,
    UserId,
)
from roommate.errors import StateError
from roommate.store import Agents, Cards, Database, Decided, Inbox, Outbox, Rooms, Turns, codec, mark_of
from roommate.store.inbox import counting_queued_in, dropping_queued
from roommate.store.migrations import STEPS, migrate
from roommate.store.rooms import setting_model
from roommate.store.turns import clearing
from tests.patience import PATIENCE

ROOM = RoomId("!room")
ALICE = UserId("@alice:x")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


def said(event: str, text: str, sender: UserId = ALICE) -> Incoming:
    return Incoming(EventId(event), ROOM, sender, 1, Message(text))


def batch(token: str, *happened: Incoming) -> SyncBatch:
    return SyncBatch(token, (RoomState(ROOM, "join", joined=2),), happened)


async def test_a_sync_is_stored_whole_and_known_events_are_passed_over(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.commit(batch("s1", said("$1", "one"), said("$2", "two")))
    await inbox.commit(batch("s2", said("$2", "two"), said("$3", "three")))
    assert await inbox.since() == "s2"
    texts = [waiting.incoming.what for waiting in await inbox.waiting(ROOM)]
    assert texts == [Message("one"), Message("two"), Message("three")]


async def test_an_edit_of_the_same_sender_changes_what_waits_and_a_redaction_drops_it(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.commit(batch("s1", said("$1", "one"), said("$2", "two")))
    mallory = UserId("@mallory:x")
    await inbox.commit(
        batch(
            "s2",
            Incoming(EventId("$e1"), ROOM, ALICE, 2, Edit(EventId("$1"), "ONE")),
            Incoming(EventId("$e2"), ROOM, mallory, 2, Edit(EventId("$1"), "evil")),
            Incoming(EventId("$e3"), ROOM, ALICE, 2, Redaction(EventId("$2"))),
        )
    )
    assert [waiting.incoming.what for waiting in await inbox.waiting(ROOM)] == [Message("ONE")]


async def test_edits_and_redactions_are_about_their_own_room(database: Database) -> None:
    """Whoever moderates one room has no say in another."""
    inbox, other, new = Inbox(database), RoomId("!other"), RoomId("!new")
    await inbox.commit(batch("s1", said("$1", "one")))
    redaction = Incoming(EventId("$a"), other, ALICE, 2, Redaction(EventId("$1")))
    edit = Incoming(EventId("$b"), other, ALICE, 2, Edit(EventId("$1"), "evil"))
    await inbox.commit(batch("s2", redaction, edit))
    assert [waiting.incoming.what for waiting in await inbox.waiting(ROOM)] == [Message("one")]

    def move(c: sqlite3.Connection) -> None:
        c.execute("INSERT INTO upgrades VALUES (?, ?, '$t', ?, 'moved', 1)", (ROOM, new, ALICE))
        c.execute("UPDATE inbox SET room_id=?", (new,))

    await database.run(move)
    await inbox.commit(batch("s3", Incoming(EventId("$r"), ROOM, ALICE, 3, Redaction(EventId("$1")))))
    assert await inbox.waiting(new) == [], "where it was said it can be taken back, also when it has moved"


async def test_an_inbox_row_is_done_once(database: Database) -> None:
    inbox, outbox = Inbox(database), Outbox(database)
    await inbox.commit(batch("s1", said("$1", "one")))
    [waiting] = await inbox.waiting(ROOM)
    drafts = [Draft(ROOM, {"body": "hello"})]
    results = await asyncio.gather(*(inbox.done(waiting.seq, drafts) for _ in range(5)))
    assert sorted(results) == [False, False, False, False, True]
    assert len(await outbox.unsent()) == 1


async def test_a_mark_goes_with_what_it_marks_however_that_is_dealt_with(database: Database) -> None:
    inbox, outbox, turns = Inbox(database), Outbox(database), Turns(database)
    await inbox.commit(batch("s1", *(said(f"${number}", "text") for number in range(4))))
    rows = await inbox.waiting(ROOM)
    for row in rows:
        for _ in range(2):
            await inbox.queue(row.seq, Draft(ROOM, {"mark": row.seq}, once=mark_of(row.seq)))
    marks = await outbox.unsent()
    assert [mark.draft.content for mark in marks] == [{"mark": row.seq} for row in rows], "once each"
    assert await inbox.waiting(ROOM, queued=False) == []
    assert len(await inbox.waiting(ROOM, most=3)) == 3
    assert await inbox.count_queued(ROOM) == 4
    await turns.begin(rows[0].seq, ROOM, None, Prompt("text", ALICE), "m")
    await inbox.done(rows[1].seq)
    await inbox.commit(batch("s2", Incoming(EventId("$r"), ROOM, ALICE, 2, Redaction(EventId("$2")))))
    assert await inbox.do(dropping_queued(ROOM, before=rows[3].seq)) == 0, "what was said later stays"
    assert await inbox.do(dropping_queued(ROOM, before=rows[3].seq + 1)) == 1
    taken_off = await outbox.unsent(after=marks[-1].id)
    assert [row.draft.redacts for row in taken_off] == [mark.id for mark in marks]
    assert await inbox.waiting(ROOM) == []


async def test_an_edited_message_is_looked_at_anew(database: Database) -> None:
    inbox = Inbox(database)
    await inbox.commit(batch("s1", said("$1", "wait")))
    [row] = await inbox.waiting(ROOM)
    await inbox.queue(row.seq, Draft(ROOM, {}, once=mark_of(row.seq)))
    await inbox.commit(batch("s2", Incoming(EventId("$e"), ROOM, ALICE, 2, Edit(EventId("$1"), "!stop"))))
    [row] = await inbox.waiting(ROOM, queued=False)
    assert row.incoming.what == Message("!stop")


async def test_a_turn_has_the_model_that_its_room_has_when_it_begins(database: Database) -> None:
    inbox, turns = Inbox(database), Turns(database)
    await inbox.commit(batch("s1", said("$1", "one"), said("$2", "two")))
    first, second = await inbox.waiting(ROOM)
    for row, chosen, model in ((first, None, "default"), (second, "other", "other")):
        await inbox.do(setting_model(ROOM, chosen))
        begun = await turns.begin(row.seq, ROOM, None, Prompt("x", ALICE), "default")
        assert begun
        assert begun.model == model


async def test_who_comes_back_does_not_find_the_members_of_before(database: Database) -> None:
    inbox, rooms = Inbox(database), Rooms(database)
    for membership, joined in (("join", 1), ("leave", None), ("invite", None), ("join", None)):
        await inbox.commit(SyncBatch(membership, (RoomState(ROOM, membership, joined),), ()))
    assert (await rooms.get(ROOM)).joined != 1, "or the bot would leave at once, as if it were alone"


async def test_a_sent_row_is_known_and_takes_no_room(database: Database) -> None:
    outbox = Outbox(database)
    [row] = await outbox.put([Draft(ROOM, {"body": "x" * 40_000})])
    await outbox.sent(row, "$event")
    assert await outbox.is_ours(EventId("$event"))
    assert await outbox.event_of(row) == "$event"
    kept = await database.run(lambda c: c.execute("SELECT sum(length(content)) FROM outbox").fetchone()[0])
    assert kept < 100


async def test_a_turn_takes_its_message_and_can_be_found_unfinished(database: Database) -> None:
    inbox, turns, outbox = Inbox(database), Turns(database), Outbox(database)
    await inbox.commit(batch("s1", said("$1", "one")))
    [waiting] = await inbox.waiting(ROOM)
    turn = await turns.begin(waiting.seq, ROOM, None, Prompt("one", ALICE), "rehearsal")
    assert turn is not None
    assert await turns.begin(waiting.seq, ROOM, None, Prompt("one", ALICE), "rehearsal") is None
    assert await turns.conversation(turn, 1000) == [[Prompt("one", ALICE)]]
    call = ToolCall("c1", "run_command", "{")
    await turns.add(turn, Answer("I look.", (call,)), Usage(10, 2, 0.5))
    await turns.add(turn, ToolResult("c1", "done", title="exit 0"))
    live = await turns.show(turn, Draft(ROOM, {"body": "working"}))
    [found] = await turns.unfinished(ROOM)
    assert found.live == live
    assert found.usage == Usage(10, 2, 0.5)
    steps = [Prompt("one", ALICE), Answer("I look.", (call,)), ToolResult("c1", "done", title="exit 0")]
    assert await turns.conversation(found, 1000) == [steps]
    assert await inbox.rooms_with_work() == [ROOM]
    await turns.end(turn, Stop.DONE, Answer("All done."), Usage(5, 5), [Draft(ROOM, {"body": "All done."}, edits=live)])
    assert await turns.unfinished(ROOM) == []
    assert await inbox.rooms_with_work() == []
    assert (await turns.spending(ROOM)).usage == Usage(15, 7, 0.5)
    first, last = await outbox.unsent()
    await outbox.sent(first.id, "$live")
    [last] = await outbox.unsent()
    assert last.target == "$live"


async def test_what_waits_is_known_by_conversation(database: Database) -> None:
    inbox, thread = Inbox(database), EventId("$root")
    rows = [("$1", None), ("$2", thread), ("$3", thread), ("$4", EventId("$late"))]
    await inbox.commit(
        batch("s1", *(Incoming(EventId(event), ROOM, ALICE, 1, Message(event, thread=place)) for event, place in rows))
    )
    one, two, three, four = await inbox.waiting(ROOM)
    assert list(await inbox.queued_in(ROOM)) == []
    for row in (four, three, two, one):
        await inbox.queue(row.seq, Draft(ROOM, {}, Rank.SIGN, "m.reaction", once=mark_of(row.seq)))
    assert list(await inbox.queued_in(ROOM)) == [None, thread, "$late"], "the one with the oldest first"
    assert await inbox.do(counting_queued_in(ROOM, thread)) == 2
    assert await inbox.count_queued(ROOM) == 4
    first = await inbox.first(ROOM, thread)
    assert first
    assert (first.seq, first.queued) == (two.seq, True)
    await inbox.done(one.seq)
    await inbox.done(two.seq)
    assert list(await inbox.queued_in(ROOM)) == [thread, "$late"]
    assert await inbox.first(ROOM, None) is None
    assert await inbox.do(dropping_queued(ROOM, four.seq)) == 1
    assert list(await inbox.queued_in(ROOM)) == ["$late"]


async def test_a_cleared_conversation_is_not_seen_again(database: Database) -> None:
    inbox, turns = Inbox(database), Turns(database)
    await inbox.commit(batch("s1", said("$1", "one"), said("$2", "two")))
    first, second = await inbox.waiting(ROOM)
    turn = await turns.begin(first.seq, ROOM, None, Prompt("one", ALICE), "m")
    assert turn
    await turns.end(turn, Stop.DONE, Answer("1"), Usage(), [])
    assert await inbox.do(clearing(ROOM, None)) == 1
    turn = await turns.begin(second.seq, ROOM, None, Prompt("two", ALICE), "m")
    assert turn
    assert await turns.conversation(turn, 1000) == [[Prompt("two", ALICE)]]


async def test_of_a_conversation_as_much_is_read_as_a_model_can_read(database: Database) -> None:
    inbox, turns = Inbox(database), Turns(database)
    await inbox.commit(batch("s1", *(said(f"${number}", "x") for number in range(6))))
    for number, row in enumerate(await inbox.waiting(ROOM)):
        begun = await turns.begin(row.seq, ROOM, None, Prompt(f"{number}" * 1000, ALICE), "m")
        assert begun
        turn = begun
        await turns.add(turn, Answer("a" * 1000), Usage(1, 1))
    lengths = [len(await turns.conversation(turn, most)) for most in (0, 4500, 1 << 20)]
    assert lengths == [1, 3, 6], "the newest always, and whole turns"
    [*_, before, last] = await turns.conversation(turn, 4500)
    assert [before[0], last[0]] == [Prompt("4" * 1000, ALICE), Prompt("5" * 1000, ALICE)]


async def test_what_a_room_has_spent_is_the_sum_of_its_turns(database: Database) -> None:
    inbox, turns = Inbox(database), Turns(database)
    await inbox.commit(batch("s1", *(said(f"${number}", "x") for number in range(3))))
    for row in await inbox.waiting(ROOM):
        turn = await turns.begin(row.seq, ROOM, None, Prompt("x", ALICE), "m")
        assert turn
        await turns.add(turn, Answer("a"), Usage(10, 1))
        await turns.add(turn, Answer("b"), Usage(1, 1, 0.5 if row.seq == 2 else None))
        await turns.end(turn, Stop.DONE, Answer("c"), Usage(), [])
    spent = await turns.spending(ROOM)
    assert (spent.turns, spent.usage) == (3, Usage(33, 6, 0.5))
    summed = "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost) FROM turns"
    assert await database.run(lambda c: c.execute(summed).fetchone()) == (3, 33, 6, 0.5)
    assert (await turns.spending(RoomId("!other"))).turns == 0


async def test_who_waits_for_an_arrival_hears_of_it_though_another_one_has_given_up(database: Database) -> None:
    outbox = Outbox(database)
    [row] = await outbox.put([Draft(ROOM, {"body": "hi"})])
    impatient, patient = (asyncio.create_task(outbox.arrived(row)) for _ in range(2))
    await asyncio.wait([impatient, patient], timeout=0.1)
    impatient.cancel()
    await asyncio.wait([impatient])
    await outbox.sent(row, "$event")
    async with asyncio.timeout(PATIENCE):
        assert await patient == "$event"
        assert await outbox.arrived(row) == "$event"


async def test_what_may_be_sent_once_is_sent_once(database: Database) -> None:
    outbox = Outbox(database)
    [first] = await outbox.put([Draft(ROOM, {"body": "hi"}, once="greet")])
    [again] = await outbox.put([Draft(ROOM, {"body": "hi"}, once="greet")])
    assert first == again
    assert len(await outbox.unsent()) == 1


async def test_a_card_is_decided_once_and_not_from_another_room(database: Database) -> None:
    inbox, outbox, cards = Inbox(database), Outbox(database), Cards(database)
    await inbox.commit(batch("s1", said("$1", "!reset workspace"), said("$2", "✅"), said("$3", "✅")))
    asked, yes, twice = await inbox.waiting(ROOM)
    question = Question(CardKind.RESET_WORKSPACE, "?", seconds=60)
    await cards.put(question, Draft(ROOM, {"body": "?"}), asked.seq, EventId("$thread"))
    [row] = await outbox.unsent()
    await outbox.sent(row.id, "$card")
    assert await cards.open(RoomId("!other"), EventId("$card")) is None
    card = await cards.open(ROOM, EventId("$card"))
    assert card is not None
    assert not card.expired
    assert card.choices == ("✅", "❌")
    assert card.thread == "$thread"
    decided = Decided(card, "✅", ALICE, yes.seq)
    assert await cards.decide(decided, Deed(ALICE, "$2", "card.x"))
    assert not await cards.decide(Decided(card, "❌", ALICE, twice.seq), Deed(ALICE, "$3", "card.x"))
    assert await cards.open(ROOM, EventId("$card")) is None
    assert await cards.pending(ROOM) == [decided], "until it is carried out"
    for _ in range(2):
        await cards.carried_out(decided, [Draft(ROOM, {"body": "ok"})])
    assert await cards.pending(ROOM) == []
    assert [row.draft.content["body"] for row in await outbox.unsent() if row.draft.rank is not Rank.SIGN] == ["ok"]


async def test_the_choices_stand_at_a_card_until_it_is_closed(database: Database) -> None:
    """There with the row that says that its message has arrived, taken off with the one that says that it is done."""
    outbox, cards = Outbox(database), Cards(database)

    async def ask(subject: str, *choices: str) -> tuple[int, list[int], list[str]]:
        question = Question(CardKind.EGRESS, "?", subject, choices)
        card = await cards.put(question, Draft(ROOM, {"body": "?"}, Rank.CARD))
        row = (await outbox.unsent())[-1]
        await outbox.sent(row.id, f"${subject}")
        rows = [one for one in await outbox.unsent() if one.draft.event_type == "m.reaction"]
        assert all(one.draft.rank is Rank.SIGN for one in rows), "no answer waits for them"
        about = {one.id: one.draft.content["m.relates_to"] for one in rows}
        reactions = [row for row in rows if about[row.id]["event_id"] == f"${subject}"]
        for one in reactions[1:]:
            await outbox.sent(one.id, f"$r{one.id}")
        return card, [one.id for one in reactions], [about[one.id]["key"] for one in reactions]

    async def taken_off() -> list[int | None]:
        rows = [one for one in await outbox.unsent() if one.draft.redacts]
        for row in rows:
            await outbox.sent(row.id, f"$x{row.id}")
        return [row.draft.redacts for row in rows]

    _, reactions, keys = await ask("one", "✅", "♾\ufe0f", "❌")
    assert keys == ["✅", "♾\ufe0f", "❌"]
    card = await cards.open(ROOM, EventId("$one"))
    assert card is not None
    decided = Decided(card, "♾", ALICE, None)
    for outcome in ("failed", "carried out"):
        await cards.decide(decided, Deed(ALICE, "$2", "card.egress"))
        if outcome == "failed":
            await cards.failed(decided, Draft(ROOM, {}), Deed(ALICE, "daemon", "card.egress"))
            assert await taken_off() == [], "it is open again"
    await cards.carried_out(decided, [])
    assert await taken_off() == reactions, "those that have not arrived yet, too: the sender knows what to do"
    await outbox.failed(reactions[0], "superseded")

    _, soon, _ = await ask("soon", "✅")
    await ask("later", "✅")
    await database.run(lambda c: c.execute("UPDATE cards SET expires = 2 WHERE subject = 'soon'"))
    due, nearest = await cards.due()
    assert nearest is not None, "the other one's time comes, too"
    assert [card.subject for card in due] == ["soon"]
    assert [await cards.close(due[0], "expired", None) for _ in range(2)] == [True, False]
    assert await taken_off() == soon
    assert await cards.due() == ([], nearest)
    assert await cards.open(ROOM, EventId("$soon")) is None, "nobody decides it any more"


async def test_a_choice_that_cannot_be_carried_out_leaves_the_card_open(database: Database) -> None:
    inbox, outbox, cards = Inbox(database), Outbox(database), Cards(database)
    await inbox.commit(batch("s1", said("$1", "✅")))
    [yes] = await inbox.waiting(ROOM)
    await cards.put(Question(CardKind.RESET_WORKSPACE, "?"), Draft(ROOM, {"body": "?"}))
    [row] = await outbox.unsent()
    await outbox.sent(row.id, "$card")
    card = await cards.open(ROOM, EventId("$card"))
    assert card is not None
    decided = Decided(card, "✅", ALICE, yes.seq)
    assert await cards.decide(decided, Deed(ALICE, "$1", "card.x"))
    await cards.failed(decided, Draft(ROOM, {"body": "no"}), Deed(ALICE, "daemon", "card.x"))
    assert await cards.pending(ROOM) == []
    assert await cards.open(ROOM, EventId("$card")) == card


async def test_one_question_on_a_subject_is_open_at_a_time(database: Database) -> None:
    cards, outbox = Cards(database), Outbox(database)
    asks = [Question(CardKind.EGRESS, "May it?", subject=host) for host in ("a:443", "b:443", "a:443")]
    first, other, again = [await cards.put(question, Draft(ROOM, {"body": "?"})) for question in asks]
    assert first == again != other
    assert len(await outbox.unsent()) == 2


async def test_a_failing_transaction_leaves_nothing_and_harms_no_other(database: Database) -> None:
    rooms, inbox = Rooms(database), Inbox(database)

    def fails(c: sqlite3.Connection) -> None:
        c.execute("INSERT INTO rooms (room_id, membership) VALUES ('!half', 'join')")
        raise ValueError("no")

    results = await asyncio.gather(
        inbox.commit(batch("s1")), database.run(fails), inbox.commit(batch("s2")), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert await inbox.since() == "s2"
    assert await rooms.joined() == [ROOM]


async def test_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path, database: Database) -> None:
    with pytest.raises(StateError, match="another Roommate runs"):
        Database.open(tmp_path)


async def test_everything_is_there_after_the_process_died(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state")
    await Inbox(database).commit(batch("s1", said("$1", "one")))
    for name in ("roommate.db", "roommate.db-wal"):
        (tmp_path / name).write_bytes((tmp_path / "state" / name).read_bytes())
    copy = Database.open(tmp_path)
    assert await Inbox(copy).since() == "s1"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "roommate.db").stat().st_mode & 0o777 == 0o600
    await copy.close()
    await database.close()


def test_each_migration_goes_on_from_the_version_before() -> None:
    for start in range(len(STEPS) + 1):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for number, script in enumerate(STEPS[:start], start=1):
            connection.executescript(f"{script}; PRAGMA user_version = {number}")
        migrate(connection)
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(STEPS)


def test_a_newer_database_is_refused() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(StateError, match="install the newer Roommate"):
        migrate(connection)


texts = st.text(st.characters(exclude_categories=["Cs"]))


files = st.builds(SentFile, texts, texts, texts, st.integers(0, 9), st.booleans(), st.none() | st.just({"v": "v2"}))


@given(
    st.one_of(
        st.builds(Prompt, texts, texts.map(UserId)),
        st.builds(Answer, texts, st.lists(st.builds(ToolCall, texts, texts, texts)).map(tuple)),
        st.builds(ToolResult, texts, texts, st.booleans(), texts),
        st.builds(Message, texts, st.none(), st.none(), st.lists(texts.map(UserId)).map(tuple), st.none() | files),
    )
)
def test_what_is_encoded_comes_back(value: object) -> None:
    assert codec.decode(codec.tag(value), codec.encode(value)) == value


def test_a_picture_is_not_kept() -> None:
    seen = ToolResult("1", "a page", picture=Picture("image/png", b"png"))
    assert codec.decode("ToolResult", codec.encode(seen)) == ToolResult("1", "a page")


async def test_a_connection_that_cannot_even_roll_back_is_broken_for_everybody(database: Database) -> None:
    """Whoever waits is told, and whoever asks later: nobody waits for a thread that is no more."""

    def close(c: sqlite3.Connection) -> None:
        c.close()

    def something(c: sqlite3.Connection) -> None:
        c.execute("SELECT 1")

    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*map(database.run, (something, close, something)), return_exceptions=True)
        assert [type(result) for result in results] == [StateError] * 3
        await database.broken.wait()
        with pytest.raises(StateError, match="cannot be used any more"):
            await Rooms(database).joined()


async def test_a_look_waits_for_nobody_and_sees_what_is_done(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def pace(seconds: float, c: sqlite3.Connection) -> None:
        c.execute("UPDATE sync SET pace=?", (seconds,))

    def slow(c: sqlite3.Connection) -> None:
        pace(7.0, c)
        begun.set()
        go_on.wait(PATIENCE)

    await database.run(partial(pace, 5.0))
    assert await database.row("SELECT pace FROM sync") == (5.0,)
    working = asyncio.ensure_future(database.run(slow))
    await asyncio.to_thread(begun.wait, PATIENCE)
    assert await database.row("SELECT pace FROM sync") == (5.0,)
    go_on.set()
    await working
    assert await database.row("SELECT pace FROM sync") == (7.0,)


async def test_a_look_changes_nothing(database: Database) -> None:
    """What is meant to is done all the same, in its place."""
    await database.look(lambda c: c.execute("UPDATE sync SET pace=3"))
    assert await database.row("SELECT pace FROM sync") == (3.0,)


async def test_a_look_at_damage_is_seen(database: Database) -> None:
    await database.alone(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    size = database.file.stat().st_size
    with database.file.open("r+b") as file:
        file.write(os.urandom(size))
    with pytest.raises(StateError, match="damaged"):
        await Rooms(database).joined()
    async with asyncio.timeout(PATIENCE):
        await database.broken.wait()


async def test_a_database_from_before_turns_were_summed_is_brought_up_to_date_with_all_that_is_in_it(
    tmp_path: Path,
) -> None:
    before = next(number for number, script in enumerate(STEPS) if "CREATE TABLE spending" in script)
    old = sqlite3.connect(tmp_path / "roommate.db", isolation_level=None)
    for script in STEPS[:before]:
        old.executescript(script)
    old.executescript(f"""
        PRAGMA user_version = {before};
        INSERT INTO conversations VALUES (7, '!room', '', 0), (8, '!other', '$thread', 0);
        INSERT INTO outbox (id, room_id, rank, txn_id, event_type, content, state, event_id)
          VALUES (1, '!room', 1, 't', 'm.room.message', '{{}}', 'sent', '$live');
        INSERT INTO inbox (seq, event_id, room_id, sender, sent_at, kind, body, state)
          VALUES (3, '$3', '!room', '@alice:x', 1, 'Message', '{{"text": "x"}}', 'done'),
                 (4, '$4', '!other', '@bob:x', 1, 'Message', '{{"text": "y"}}', 'done');
        INSERT INTO turns VALUES (5, 7, 3, 1, 'm', 'done', 1.5, 2.5, 10, 2, 0.5),
                                 (6, 8, 4, NULL, 'm', NULL, 3.5, NULL, 1, 1, NULL);
        INSERT INTO steps (turn_id, kind, body)
          VALUES (5, 'Prompt', '{{"text": "x", "sender": "@alice:x"}}'),
                 (6, 'Prompt', '{{"text": "y", "sender": "@bob:x"}}');
        INSERT INTO ipc (room_id, name, body, state, turn_id) VALUES ('!room', 'n', '{{}}', 'done', 5);
        INSERT INTO agent_sessions VALUES ('!room', 'gemini', 'goes on'), ('!other', 'gemini', 'of its threads');
    """)
    old.close()
    database = Database.open(tmp_path)
    try:
        turns = Turns(database)
        [newest, oldest] = await turns.newest(9)
        assert (oldest.turn.id, oldest.turn.asked_by, oldest.turn.prompt_event, oldest.turn.live) == (5, ALICE, "$3", 1)
        assert (newest.turn.room_id, newest.turn.thread, newest.stop) == ("!other", "$thread", None)
        assert (await turns.spending(ROOM)).usage == Usage(10, 2, 0.5)
        assert await turns.unfinished(RoomId("!other")) == [newest.turn]
        assert await Agents(database).session(oldest.turn.conversation_id, "gemini") == "goes on"
        assert await Agents(database).session(newest.turn.conversation_id, "gemini") == ""
        assert await turns.conversation(newest.turn, 100) == [[Prompt("y", UserId("@bob:x"))]]
        for pragma, good in (("foreign_key_check", []), ("integrity_check", [("ok",)])):
            assert await database.run(lambda c, p=pragma: c.execute(f"PRAGMA {p}").fetchall()) == good  # type: ignore[misc]
    finally:
        await database.close()
