"""The state of an earlier release: every row of it is read by this one, and it is made so again for the way back."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from roommate.domain import Answer, EventId, Message, Prompt, RoomId, Unknown
from roommate.errors import StateError
from roommate.store import (
    Agents,
    AgentUsages,
    Audit,
    Cards,
    Database,
    Egress,
    Inbox,
    Ipc,
    Outbox,
    Pauses,
    Repos,
    Rooms,
    Turns,
    audit,
    codec,
    take_down,
    version,
)
from roommate.store.migrations import STEPS, UNDO
from tests.earlier_state import VERSION, loaded

WORK, PAUSED, FLYING, OPS = (RoomId(f"!{name}:example.org") for name in ("work", "paused", "flying", "ops"))
ROWS = {
    "rooms": 4, "inbox": 25, "conversations": 4, "outbox": 28, "turns": 7, "steps": 19, "cards": 5, "ipc": 2,
    "egress": 1, "repos": 1, "pauses": 1, "agent_sessions": 1, "agent_usage": 1, "spending": 3, "audit": 19, "sync": 1,
}  # fmt: skip


async def test_every_row_is_there_and_is_read(tmp_path: Path) -> None:
    database = Database.open(loaded(tmp_path))
    inbox, turns, cards = Inbox(database), Turns(database), Cards(database)

    def look(c: sqlite3.Connection) -> None:
        for table, rows in ROWS.items():
            assert c.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,), table
        assert c.execute("PRAGMA foreign_key_check").fetchall() == []
        kept = c.execute("SELECT kind, body FROM steps UNION ALL SELECT kind, body FROM inbox").fetchall()
        assert not [kind for kind, body in kept if isinstance(codec.decode(kind, body), Unknown)]
        assert audit.verify(c).broken is None

    await database.run(look)
    rooms = await Rooms(database).all()
    assert {(row.name, row.prompt) for row in rooms if row.membership == "join"} == {
        ("Flying", None), ("Ops", None), ("Paused", None), ("Work", "Be brief.")
    }  # fmt: skip
    for room, thread, text in ((FLYING, None, "SAY waited-behind"), (PAUSED, None, "SAY held-answer")):
        assert list(await inbox.queued_in(room)) == [thread]
        first = await inbox.first(room, thread)
        assert first is not None
        assert isinstance(first.incoming.what, Message)
        assert first.incoming.what.text == text
    [in_model] = await turns.unfinished(FLYING)
    [in_tool] = await turns.unfinished(OPS)
    assert await turns.conversation(in_model, 10_000) == [[Prompt("HOLD model\nSAY flown-model", in_model.asked_by)]]
    [[_, running]] = await turns.conversation(in_tool, 10_000)
    assert isinstance(running, Answer)
    assert [call.name for call in running.calls] == ["run_command"]
    assert sorted(card.what for card in await cards.undecided()) == [
        "egress", "hook", "of-a-later-release", "redeploy", "reset-workspace"
    ]  # fmt: skip
    opened = await cards.open(WORK, EventId("$event-63:example.org"))
    assert opened is not None
    assert (opened.what, opened.subject, opened.choices) == ("egress", "one.invalid:80", ("✅", "♾", "❌"))
    assert await Agents(database).session(1, "gemini") == "a-session-of-gemini"
    assert [pause.room_id for pause in await Pauses(database).all()] == [PAUSED]
    assert [str(rule) for rule in await Egress(database).rules(WORK)] == ["three.invalid:8443"]
    assert await Repos(database).of(WORK) == ["acme/widget"]
    assert [(used.agent, used.requests) for used in await AgentUsages(database).of(WORK)] == [("gemini", 3)]
    assert [event.summary for event in await Ipc(database).of_turn(4)] == ["git push"] * 2
    assert (await Audit(database).newest(1))[0].deed.what == "backup"
    assert await Outbox(database).unsent() == []
    await database.close()


def content(file: Path) -> dict[str, list[Any]]:
    with contextlib.closing(sqlite3.connect(file)) as c:
        tables = c.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index') ORDER BY name").fetchall()
        return {
            name: c.execute(f'SELECT * FROM "{name}"').fetchall()
            if c.execute("SELECT 1 FROM sqlite_master WHERE name=? AND type='table'", (name,)).fetchone()
            else []
            for (name,) in tables
        }


async def test_it_is_made_again_as_it_was(tmp_path: Path) -> None:
    before = content(loaded(tmp_path) / "roommate.db")
    database = Database.open(tmp_path)
    more = "UPDATE steps SET body = json_set(body, '$.more', 'of today') WHERE kind = 'ToolResult'"
    await database.run(lambda c: c.execute(more))
    await database.run(lambda c: c.execute("UPDATE ipc SET body = json_set(body, '$.turn', 4)"))
    await database.close()
    assert version(tmp_path) == len(STEPS)
    take_down(tmp_path, VERSION)
    assert version(tmp_path) == VERSION
    assert content(tmp_path / "roommate.db") == before
    await Database.open(tmp_path).close()
    with pytest.raises(StateError, match="what step 15 did cannot be undone"):
        take_down(tmp_path, VERSION - 1)
    assert version(tmp_path) == len(STEPS), "it is as it was"


def test_every_step_from_now_on_can_be_undone() -> None:
    assert UNDO.keys() == set(range(VERSION + 1, len(STEPS) + 1))


async def test_of_turns_that_ran_side_by_side_one_goes_on_and_people_are_told_of_the_others(tmp_path: Path) -> None:
    database = Database.open(loaded(tmp_path))

    def more(c: sqlite3.Connection) -> None:
        c.execute("INSERT INTO conversations VALUES (9, ?, '$thread', 0)", (FLYING,))
        for turn, live in ((20, 21), (21, None)):
            c.execute("UPDATE outbox SET room_id=? WHERE id=?", (FLYING, live))
            c.execute(
                """INSERT INTO turns (id, conversation_id, room_id, inbox_seq, sender, event_id, live, model, started)
                   VALUES (?, 9, ?, ?, '@ann:example.org', ?, ?, 'm', 1)""",
                (turn, FLYING, 100 + turn, f"$asked-{turn}", live),
            )
        c.execute("INSERT INTO agent_sessions VALUES (9, 'gemini', 'of the thread')")

    await database.run(more)
    await database.close()
    take_down(tmp_path, VERSION)
    found = content(tmp_path / "roommate.db")
    assert [(turn[0], turn[8]) for turn in found["turns"] if turn[8] != "done"] == [
        (6, None), (7, None), (20, "stopped"), (21, "stopped")
    ]  # fmt: skip
    assert found["agent_sessions"] == [(WORK, "gemini", "a-session-of-gemini")]
    edit, fresh = found["outbox"][-2:]
    assert edit[7] == 21, "its live message says so"
    assert fresh[7] is None
    for row, turn in ((edit, 20), (fresh, 21)):
        said = json.loads(row[6])
        assert said["body"].startswith("⏹ Stopped: I am an earlier release again")
        assert said["io.roommate.turn"] == {"id": turn, "prompt": f"$asked-{turn}", "state": "stopped"}
    assert json.loads(fresh[6])["m.relates_to"] == {"rel_type": "m.thread", "event_id": "$thread"}
    database = Database.open(tmp_path)
    [oldest] = await Turns(database).unfinished(FLYING)
    assert oldest.id == 6
    await database.close()
