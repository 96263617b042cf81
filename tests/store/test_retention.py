"""What is old is forgotten, and nothing is answered twice or not understood for that."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roommate.domain import (
    ANSWERS,
    Answer,
    Answered,
    CardKind,
    Draft,
    Edit,
    EventId,
    HookEvent,
    HookKind,
    Incoming,
    Message,
    Prompt,
    Question,
    Redaction,
    RoomId,
    RoomState,
    Stop,
    SyncBatch,
    Usage,
    UserId,
)
from roommate.rooms.card_look import EXPIRED
from roommate.store import Cards, Database, Inbox, Ipc, Outbox, Restored, Retention, Turns, mark_of
from roommate.store.retention import PAGES_AT_ONCE
from tests.patience import PATIENCE

T = TypeVar("T")

ROOM = RoomId("!room")
ALICE, BOT = UserId("@alice:x"), UserId("@bot:x")
GROWING = ("steps", "inbox", "outbox", "ipc", "cards")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roommate.store.retention.BREATH", 0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


def said(event: str, text: str = "x") -> Incoming:
    return Incoming(EventId(event), ROOM, ALICE, 1, Message(text))


async def hear(database: Database, *happened: Incoming) -> None:
    await Inbox(database).commit(SyncBatch("s", (RoomState(ROOM, "join", joined=2),), happened))


async def answered(database: Database, seq: int, *, thread: EventId | None = None) -> int:
    """A turn from its beginning to its end, with all that is said of it sent; gives its number."""
    turns, outbox = Turns(database), Outbox(database)
    turn = await turns.begin(seq, ROOM, thread, Prompt("x", ALICE), "m")
    assert turn is not None
    live = await turns.show(turn, Draft(ROOM, {"body": "working"}))
    await turns.end(turn, Stop.DONE, Answer("ok"), Usage(1, 1), [Draft(ROOM, {"body": "ok"}, edits=live)])
    for row in await outbox.unsent():
        await outbox.sent(row.id, f"$sent-{row.id}")
    return turn.id


async def rows(database: Database, table: str) -> int:
    return await database.run(lambda c: int(c.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


def later() -> float:
    """A time from which on all that was done until now is old."""
    return time.time() + 1


async def test_of_a_room_the_newest_turns_stay_and_of_a_cleared_one_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roommate.store.retention.MOST_TURNS", 3)
    turns = Turns(database)
    await hear(database, *(said(f"${number}") for number in range(5)))
    numbers = [await answered(database, row.seq) for row in await Inbox(database).waiting(ROOM)]
    assert await Retention(database).sweep(time.time() - 60) == 0, "nothing is old"
    assert await Retention(database).sweep(later())
    assert [len((await turns.get(number) or ((), ()))[1]) for number in numbers] == [0, 0, 2, 2, 2]
    assert (await turns.spending(ROOM)).turns == 5
    assert [row.turn.asked_by for row in await turns.newest(9, ROOM)] == [ALICE] * 5
    await hear(database, said("$new"))
    [row] = await Inbox(database).waiting(ROOM)
    turn = await turns.begin(row.seq, ROOM, None, Prompt("new", ALICE), "m")
    assert turn
    assert len(await turns.conversation(turn, 1 << 20)) == 4
    await turns.end(turn, Stop.DONE, Answer("ok"), Usage(), [])
    await database.run(lambda c: c.execute("UPDATE conversations SET cleared = (SELECT max(id) FROM turns)"))
    await Retention(database).sweep(later())
    assert await rows(database, "steps") == 0


async def test_a_daemon_without_turns_forgets_too(database: Database) -> None:
    inbox, outbox = Inbox(database), Outbox(database)

    async def answered_at_once(event: str) -> None:
        await hear(database, said(event))
        [command] = await inbox.waiting(ROOM)
        await inbox.done(command.seq, [Draft(ROOM, {"body": "Pong"})])
        for row in await outbox.unsent():
            await outbox.sent(row.id, f"$sent-{row.id}")

    await answered_at_once("$1")
    assert await Retention(database).sweep(time.time()) == 0, "nothing is old"
    before = time.time()
    await answered_at_once("$2")
    assert await Retention(database).sweep(before) == 2
    assert [await rows(database, table) for table in ("inbox", "outbox", "marks")] == [1, 1, 2]


async def test_a_turn_that_was_half_forgotten_when_the_daemon_ended_is_not_shown_to_a_model(database: Database) -> None:
    await hear(database, said("$1"), said("$2"))
    first, second = await Inbox(database).waiting(ROOM)
    await answered(database, first.seq)
    await database.run(lambda c: c.execute("DELETE FROM steps WHERE id = (SELECT min(id) FROM steps)"))
    turn = await Turns(database).begin(second.seq, ROOM, None, Prompt("second", ALICE), "m")
    assert turn
    assert await Turns(database).conversation(turn, 1 << 20) == [[Prompt("second", ALICE)]]


async def test_what_is_forgotten_is_not_answered_again_and_a_reply_to_it_is_understood(database: Database) -> None:
    inbox, outbox = Inbox(database), Outbox(database)
    await hear(database, said("$prompt"), said("$command"))
    prompt, command = await inbox.waiting(ROOM)
    await inbox.done(command.seq, [Draft(ROOM, {"body": "Pong"})])
    number = await answered(database, prompt.seq)
    sent = [EventId(f"$sent-{row}") for row in (1, 2, 3)]
    assert await Retention(database).sweep(later()) > 0
    await hear(database, said("$3"))
    [third] = await inbox.waiting(ROOM)
    await answered(database, third.seq)
    await Retention(database).sweep(later())
    assert await rows(database, "inbox") == 0
    assert await rows(database, "outbox") <= 2, "of the newest turn"
    await hear(database, said("$prompt"), said("$command"))
    assert await inbox.waiting(ROOM) == []
    await hear(
        database,
        Incoming(EventId("$e"), ROOM, ALICE, 2, Edit(EventId("$prompt"), "anew")),
        Incoming(EventId("$r"), ROOM, ALICE, 2, Redaction(EventId("$command"))),
        Incoming(EventId("$own"), ROOM, BOT, 2, Answered(EventId("$prompt"), "ok", "done")),
    )
    assert await inbox.waiting(ROOM) == []
    assert await outbox.is_ours(sent[0])
    assert not await outbox.is_ours(EventId("$prompt"))
    assert not await outbox.is_ours(EventId("$else"))
    found = await Turns(database).get(number)
    assert found is not None
    assert found[0].turn.prompt_event == "$prompt"


async def test_what_something_is_still_to_come_of_stays(database: Database) -> None:
    """A turn that runs, a mark of what waits, an edit that was not sent, an open question."""
    inbox, outbox, turns, cards, ipc = (
        Inbox(database), Outbox(database), Turns(database), Cards(database), Ipc(database),
    )  # fmt: skip
    await hear(database, *(said(f"${number}") for number in range(4)))
    first, second, third, fourth = await inbox.waiting(ROOM)
    running = await turns.begin(first.seq, ROOM, None, Prompt("x", ALICE), "m")
    assert running
    live = await turns.show(running, Draft(ROOM, {}))
    await ipc.commit(ROOM, [("1", HookEvent(HookKind.PROGRESS, "a", "tool", "text"))])
    await ipc.shown([1], running.id)
    await inbox.queue(second.seq, Draft(ROOM, {}, once=mark_of(second.seq)))
    card = await cards.put(Question(CardKind.EGRESS, "?", subject="a:443", seconds=60), Draft(ROOM, {"body": "?"}))
    [edited] = await outbox.put([Draft(ROOM, {"body": "old"})])
    for _ in range(2):  # the second time the card's choices
        for row in await outbox.unsent():
            await outbox.sent(row.id, f"$sent-{row.id}")
    await outbox.put([Draft(ROOM, {"body": "new"}, edits=edited)])
    before = {table: await rows(database, table) for table in GROWING}
    turn = await turns.begin(third.seq, ROOM, None, Prompt("x", ALICE), "m")
    assert turn
    shown = await turns.show(turn, Draft(ROOM, {}))
    await turns.end(turn, Stop.DONE, Answer("ok"), Usage(), [])
    await outbox.sent(shown, "$shown")
    await Retention(database).sweep(later())
    assert await outbox.event_of(live) == f"$sent-{live}"
    assert {row.id for row in await cards.undecided()} == {card}
    assert [turn.id for turn in await turns.unfinished(ROOM)] == [running.id]
    assert [row.seq for row in await inbox.waiting(ROOM)] == [second.seq, fourth.seq]
    assert await ipc.of_turn(running.id)
    [waits] = await outbox.unsent()
    assert waits.target == f"$sent-{edited}"
    assert await rows(database, "outbox") == before["outbox"], "all but the one of the turn that is over"
    await hear(
        database,
        Incoming(EventId("$live"), ROOM, BOT, 2, Answered(EventId("$0"), "ok", "done", edits=EventId("$edited"))),
    )
    assert await turns.unfinished(ROOM) == [], "the rooms know better, after a restore"


async def test_what_was_to_be_sent_once_goes_where_its_reason_is_over(database: Database) -> None:
    outbox = Outbox(database)
    over = (
        "mesh:1:0",
        "mesh-reply:d",
        "mesh-no:$e",
        "asked:01A:0",
        "asked:01A",
        "setup:n",
        "tap:1",
        "tokens:!room:1:2:3",
    )
    for_ever = ("told:!room:@a:x", "unreadable:!room", "device D")
    await outbox.put([Draft(ROOM, {"body": "x"}, once=once) for once in (*over, *for_ever)])
    await hear(database, said("$1"))
    [row] = await Inbox(database).waiting(ROOM)
    await answered(database, row.seq)
    await outbox.put([Draft(ROOM, {"body": "x"}, once="mesh:2:0")])
    await Retention(database).sweep(later())
    query = "SELECT once FROM outbox WHERE once IS NOT NULL ORDER BY id"
    assert [once for (once,) in await database.rows(query)] == [*for_ever, "mesh:2:0"]


async def test_a_card_that_is_decided_or_expired_goes_and_its_number_does_not_come_again(database: Database) -> None:
    cards = Cards(database)
    draft = Draft(ROOM, {"body": "?"})
    numbers = [await cards.put(Question(CardKind.EGRESS, "?", subject=f"{n}", seconds=0), draft) for n in range(5)]
    await database.run(lambda c: c.execute("UPDATE cards SET expires = expires - 10"))
    expired, opened, *_ = (await cards.due())[0]
    assert await cards.close(expired, EXPIRED, None)
    decided = "UPDATE cards SET verdict = '✅' WHERE verdict IS NULL AND id != ?"
    await database.run(lambda c: c.execute(decided, (opened.id,)))
    await Retention(database).sweep(later())
    assert [card.id for card in (await cards.due())[0]] == [opened.id], "what nobody has closed is not forgotten"
    assert await rows(database, "cards") == 2
    assert await cards.put(Question(CardKind.EGRESS, "?", subject="new"), draft) > max(numbers)


async def test_an_answer_that_a_restored_copy_has_not_sent_is_not_sent_again(database: Database) -> None:
    """Also where the row of the message that it answers is forgotten."""
    inbox, outbox = Inbox(database), Outbox(database)
    await hear(database, said("$1"), said("$2"))
    first, second = await inbox.waiting(ROOM)
    await inbox.done(first.seq, [Draft(ROOM, {"body": "an answer", "msgtype": "m.text"})])
    turn = await Turns(database).begin(second.seq, ROOM, None, Prompt("x", ALICE), "m")
    assert turn
    await Turns(database).end(turn, Stop.DONE, Answer("ok"), Usage(), [])
    await Retention(database).sweep(later())
    assert await rows(database, "inbox") == 0
    await Restored(database).mark(1000)
    [unsent] = await outbox.unsent()
    assert unsent.draft.content[ANSWERS] == "$1"
    await hear(database, Incoming(EventId("$own"), ROOM, BOT, 2, Answered(EventId("$1"), "an answer")))
    assert await outbox.unsent() == []
    past = await Restored(database).untold()
    assert past is not None
    assert past.rooms == []


async def test_the_file_becomes_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roommate.store.retention.MOST_TURNS", 1)
    monkeypatch.setattr("roommate.store.retention.SPARE_PAGES", 8)
    monkeypatch.setattr("roommate.store.retention.DAY", 0.0001)
    database = Database.open(tmp_path)
    try:
        await hear(database, *(said(f"${number}") for number in range(30)))
        for row in await Inbox(database).waiting(ROOM):
            turn = await Turns(database).begin(row.seq, ROOM, None, Prompt("x" * 100_000, ALICE), "m")
            assert turn
            await Turns(database).end(turn, Stop.DONE, Answer("ok"), Usage(), [])

        def pages(c: sqlite3.Connection) -> int:
            return int(c.execute("PRAGMA page_count").fetchone()[0])

        large = await database.run(pages)
        pieces: list[int] = []
        await database.run(lambda c: c.set_trace_callback(lambda sql: pieces.append("incremental_vacuum" in sql)))
        running = asyncio.create_task(Retention(database).run(1))
        async with asyncio.timeout(PATIENCE):
            while await database.run(pages) > large / 3:
                await asyncio.sleep(0.01)
        running.cancel()
        assert sum(pieces) <= large / PAGES_AT_ONCE + 1
    finally:
        await database.close()


async def test_a_file_of_before_is_made_so_that_it_can_shrink(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "roommate.db")
    old.execute("CREATE TABLE of_something (x)")
    old.close()

    def mode(c: sqlite3.Connection) -> int:
        return int(c.execute("PRAGMA auto_vacuum").fetchone()[0])

    for folder in (tmp_path, tmp_path / "new"):
        database = Database.open(folder)
        assert await database.run(mode) == 2
        await database.close()


class Life(RuleBasedStateMachine):
    """A room's life, in any order: people write, edit, redact; the homeserver repeats; turns end; old things go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database.open(Path(self.folder.name))
        self.heard: list[str] = []
        self.redacted: set[str] = set()
        self.answers: list[str] = []

    def teardown(self) -> None:
        self.drain()
        assert {*self.heard} - self.redacted <= {*self.answers}
        self.loop.run_until_complete(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule()
    def say(self) -> None:
        self.heard.append(f"${len(self.heard)}")
        self.do(hear(self.database, said(self.heard[-1])))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        self.do(hear(self.database, *(said(event) for event in data.draw(st.lists(st.sampled_from(self.heard))))))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def edit_and_redact(self, data: st.DataObject) -> None:
        edited, redacted = (data.draw(st.sampled_from(self.heard)) for _ in range(2))
        events = f"$of-{len(self.heard)}-{edited}-{redacted}"
        self.do(
            hear(
                self.database,
                Incoming(EventId(f"{events}-e"), ROOM, ALICE, 2, Edit(EventId(edited), "anew")),
                Incoming(EventId(f"{events}-r"), ROOM, ALICE, 2, Redaction(EventId(redacted))),
            )
        )
        if redacted not in self.answers:
            self.redacted.add(redacted)

    @rule()
    def answer_one(self) -> None:
        for row in self.do(Inbox(self.database).waiting(ROOM, most=1)):
            self.answers.append(row.incoming.event_id)
            self.do(answered(self.database, row.seq))

    @rule()
    def drain(self) -> None:
        while self.do(Inbox(self.database).waiting(ROOM, most=1)):
            self.answer_one()

    @rule()
    def forget(self) -> None:
        self.do(Retention(self.database).sweep(later()))

    @rule()
    def restart(self) -> None:
        self.do(self.database.close())
        self.database = Database.open(Path(self.folder.name))

    @invariant()
    def once(self) -> None:
        assert len(self.answers) == len(set(self.answers))
        assert not self.redacted & set(self.answers)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
