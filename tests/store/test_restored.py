"""A copy that was put back learns from the rooms what was answered after it was made."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from roommate.domain import (
    TURN,
    Answer,
    Answered,
    CardKind,
    Deed,
    Draft,
    EventId,
    Incoming,
    Message,
    Prompt,
    Question,
    Reaction,
    RoomId,
    RoomState,
    Stop,
    SyncBatch,
    Usage,
    UserId,
)
from roommate.store import Cards, Database, Decided, Inbox, Outbox, Restored, Turns, copy, put_back

ROOM = RoomId("!room")
ALICE, BOT = UserId("@alice:x"), UserId("@bot:x")

Restore = Callable[[], Awaitable[Database]]


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[tuple[Database, Restore]]:
    """A database, and what makes a copy of its present the database."""
    opened = [Database.open(tmp_path / "state")]

    async def restore() -> Database:
        copy(tmp_path / "state", tmp_path / "copy.db")
        await opened[-1].close()
        put_back(tmp_path / "copy.db", tmp_path / "other")
        opened.append(Database.open(tmp_path / "other"))
        await Restored(opened[-1]).mark(1000)
        return opened[-1]

    yield opened[0], restore
    await opened[-1].close()


def said(event: str, text: str) -> Incoming:
    return Incoming(EventId(event), ROOM, ALICE, 1, Message(text))


def own(event: str, what: Answered) -> Incoming:
    return Incoming(EventId(event), ROOM, BOT, 2, what)


def batch(token: str, *happened: Incoming) -> SyncBatch:
    return SyncBatch(token, (RoomState(ROOM, "join", joined=2),), happened)


async def texts(inbox: Inbox) -> list[str]:
    return [
        waiting.incoming.what.text
        for waiting in await inbox.waiting(ROOM)
        if isinstance(waiting.incoming.what, Message)
    ]


async def test_what_was_answered_since_is_passed_over_and_the_rest_is_not(state: tuple[Database, Restore]) -> None:
    old, restore = state
    await Inbox(old).commit(batch("s1", said("$1", "known and answered since")))
    database = await restore()
    inbox = Inbox(database)
    since = (
        said("$2", "answered"),
        own("$a1", Answered(EventId("$1"), "yes", "done")),
        said("$3", "never answered"),
        own("$l2", Answered(EventId("$2"), runs=True)),
        said("$4", "!ping"),
        own("$a4", Answered(EventId("$4"))),
        own("$e2", Answered(EventId("$2"), "yes, too", "done", edits=EventId("$edited"))),
        own("$a9", Answered(EventId("$of-somewhere-else"))),
    )
    await inbox.commit(batch("s2", *since))
    assert await texts(inbox) == ["never answered"]
    past = await Restored(database).untold()
    assert past is not None
    assert (past.at, past.rooms) == (1000, [ROOM])
    await Restored(database).told([])
    assert await Restored(database).untold() is None


async def test_a_turn_that_ended_since_has_its_answer_and_one_that_did_not_goes_on_in_its_message(
    state: tuple[Database, Restore],
) -> None:
    old, restore = state
    await Inbox(old).commit(batch("s1", said("$1", "one")))
    [one] = await Inbox(old).waiting(ROOM)
    assert await Turns(old).begin(one.seq, ROOM, None, Prompt("one", ALICE), "m")
    database = await restore()
    inbox, turns, outbox = Inbox(database), Turns(database), Outbox(database)
    await inbox.commit(
        batch(
            "s2",
            own("$l1", Answered(EventId("$1"), runs=True)),
            own("$e1", Answered(EventId("$1"), "the answer", "done", edits=EventId("$edited"))),
            said("$2", "two"),
            own("$l2", Answered(EventId("$2"), runs=True)),
        )
    )
    assert await turns.unfinished(ROOM) == []
    [two] = await inbox.waiting(ROOM)
    turn = await turns.begin(two.seq, ROOM, None, Prompt("two", ALICE), "m")
    assert turn is not None
    conversation = await turns.conversation(turn, 1000)
    assert conversation[0] == [Prompt("one", ALICE), Answer("the answer")]
    assert turn.live is not None
    assert await outbox.event_of(turn.live) == "$l2"
    assert await outbox.is_ours(EventId("$l2"))
    assert await outbox.unsent() == []


async def test_an_answer_that_is_heard_of_while_the_turn_runs_again_is_the_answer(
    state: tuple[Database, Restore],
) -> None:
    _, restore = state
    database = await restore()
    inbox, turns, outbox = Inbox(database), Turns(database), Outbox(database)
    await inbox.commit(batch("s1", said("$1", "one")))
    [one] = await inbox.waiting(ROOM)
    turn = await turns.begin(one.seq, ROOM, None, Prompt("one", ALICE), "m")
    assert turn is not None
    live = await turns.show(turn, Draft(ROOM, {"body": "working"}))
    await inbox.commit(batch("s2", own("$a1", Answered(EventId("$1"), "the answer", "done"))))
    await turns.end(turn, Stop.DONE, Answer("another answer"), Usage(), [Draft(ROOM, {"body": "another"}, edits=live)])
    await inbox.commit(batch("s3", said("$2", "two")))
    [two] = await inbox.waiting(ROOM)
    following = await turns.begin(two.seq, ROOM, None, Prompt("two", ALICE), "m")
    assert following is not None
    assert (await turns.conversation(following, 1000))[0] == [Prompt("one", ALICE), Answer("the answer")]
    assert [row.draft.redacts for row in await outbox.unsent()] == [None, live]


async def test_what_was_sent_since_is_not_sent_again(state: tuple[Database, Restore]) -> None:
    old, restore = state
    inbox, outbox = Inbox(old), Outbox(old)
    await inbox.commit(batch("s1", said("$1", "!ping"), said("$2", "!ping"), said("$3", "three")))
    for waiting in (await inbox.waiting(ROOM))[:2]:
        assert await inbox.done(waiting.seq, [Draft(ROOM, {"body": "Pong"})])
    await outbox.put([Draft(ROOM, {"body": "3", TURN: {"prompt": "$3", "state": "done"}})])
    database = await restore()
    outbox = Outbox(database)
    assert len(await outbox.unsent()) == 3
    again = batch("s2", own("$a1", Answered(EventId("$1"))), own("$a3", Answered(EventId("$3"), "3", "done")))
    await Inbox(database).commit(again)
    [left] = await outbox.unsent()
    assert left.draft.content == {"body": "Pong", "io.roommate.answers": "$2"}
    await Inbox(database).commit(again)
    assert len(await outbox.unsent()) == 1


async def test_a_card_that_was_decided_since_is_not_decided_again(state: tuple[Database, Restore]) -> None:
    old, restore = state
    inbox, outbox, cards = Inbox(old), Outbox(old), Cards(old)
    await inbox.commit(batch("s1", said("$1", "!reset workspace")))
    [asked] = await inbox.waiting(ROOM)
    await cards.put(Question(CardKind.RESET_WORKSPACE, "?"), Draft(ROOM, {"body": "?"}), asked.seq)
    [row] = await outbox.unsent()
    await outbox.sent(row.id, "$card")
    database = await restore()
    inbox, cards = Inbox(database), Cards(database)
    yes = Incoming(EventId("$yes"), ROOM, ALICE, 3, Reaction(EventId("$card"), "✅"))
    await inbox.commit(batch("s2", yes, own("$a", Answered(EventId("$yes")))))
    assert await inbox.waiting(ROOM) == []
    assert await cards.open(ROOM, EventId("$card")) is None


async def test_in_daily_life_nothing_changes(state: tuple[Database, Restore]) -> None:
    """The echo of an answer comes before or after its request returned."""
    database, _ = state
    inbox, outbox, cards = Inbox(database), Outbox(database), Cards(database)
    await inbox.commit(batch("s1", said("$1", "!ping"), said("$2", "!reset workspace"), said("$3", "✅")))
    one, two, three = await inbox.waiting(ROOM)
    await inbox.done(one.seq, [Draft(ROOM, {"body": "Pong"}), Draft(ROOM, {"body": "and more"})])
    first, second = await outbox.unsent()
    await inbox.commit(batch("s2", own("$a1", Answered(EventId("$1")))))
    await outbox.sent(first.id, "$a1")
    await inbox.commit(batch("s3", own("$a1", Answered(EventId("$1")))))
    assert [row.id for row in await outbox.unsent()] == [second.id]
    await outbox.sent(second.id, "$a2")
    await inbox.commit(batch("s4", own("$a2", Answered(EventId("$1")))))
    card = await cards.put(Question(CardKind.RESET_WORKSPACE, "?"), Draft(ROOM, {"body": "?"}), two.seq)
    [row] = await outbox.unsent()
    await inbox.commit(batch("s5", own("$card", Answered(EventId("$2")))))
    await outbox.sent(row.id, "$card")
    opened = await cards.open(ROOM, EventId("$card"))
    assert opened is not None
    assert opened.id == card
    deed = Deed(ALICE, "$3", "card.reset-workspace")
    assert await cards.decide(Decided(opened, "✅", ALICE, three.seq), deed)
