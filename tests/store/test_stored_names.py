"""What rows say is data: whatever a class or a constant is called tomorrow, a row of today is read as it was meant."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest

import roommate
from roommate.domain import (
    ANSWERS,
    CARD,
    SAID,
    TURN,
    Answer,
    Answered,
    Arrived,
    CardKind,
    DeedOutcome,
    Edit,
    EventId,
    Gone,
    Happening,
    HookEvent,
    HookKind,
    Incoming,
    Invite,
    MeshEvent,
    Message,
    OwnMessage,
    Prompt,
    Rank,
    Reaction,
    Redaction,
    RoomId,
    RoomState,
    Step,
    Stop,
    SyncBatch,
    Thought,
    Tombstone,
    ToolCall,
    ToolResult,
    Unknown,
    Unreadable,
    UserId,
)
from roommate.sandbox import container, container_spec
from roommate.store import Database, Inbox, Ipc, Outbox, Turns, codec

ROOM, ALICE = RoomId("!room"), UserId("@alice:x")

ROWS: list[tuple[str, str, object]] = [
    ("Prompt", '{"text":"do it","sender":"@alice:x"}', Prompt("do it", ALICE)),
    (
        "Answer",
        '{"text":"I look.","calls":[{"id":"1","name":"read_file","arguments":"{}"}]}',
        Answer("I look.", (ToolCall("1", "read_file", "{}"),)),
    ),
    (
        "Answer",
        '{"text":"I know.","calls":[],"thought":{"model":"openai/x","fields":{"reasoning_content":"hm"}}}',
        Answer("I know.", (), Thought("openai/x", {"reasoning_content": "hm"})),
    ),
    (
        "ToolResult",
        '{"call_id":"1","text":"as asked","ok":false,"title":"exit 1"}',
        ToolResult("1", "as asked", False, "exit 1"),
    ),
    (
        "Message",
        '{"text":"hi","thread":"$t","reply_to":null,"mentions":["@alice:x"],"attachment":null}',
        Message("hi", EventId("$t"), None, (ALICE,)),
    ),
    ("Reaction", '{"target":"$card","key":"✅"}', Reaction(EventId("$card"), "✅")),
    ("Edit", '{"target":"$t","text":"hi again"}', Edit(EventId("$t"), "hi again")),
    ("Unreadable", "{}", Unreadable()),
    ("Invite", "{}", Invite()),
    ("Arrived", "{}", Arrived()),
    ("Gone", '{"reason":"kicked by @alice:x"}', Gone("kicked by @alice:x")),
    ("Tombstone", '{"new":"!new"}', Tombstone(RoomId("!new"))),
    (
        "HookEvent",
        '{"kind":"approval-request","agent":"gemini","session":"s","tool":"shell","summary":"x","ok":null,'
        '"seconds":null,"exit_code":null,"text":"push","asks":"7","command":"git push"}',
        HookEvent(HookKind.APPROVAL, "gemini", "s", "shell", "x", text="push", asks="7", command="git push"),
    ),
]
"""As releases have written them: add to this list, and change nothing in it."""

NOT_STORED = {MeshEvent, Redaction, Answered, OwnMessage, Unknown}
"""What happens and is dealt with when it is stored."""

RELEASED: dict[type[StrEnum], set[str]] = {
    CardKind: {"egress", "hook", "reset-workspace", "redeploy", "rollback"},
    HookKind: {"event-progress", "event-result", "notification", "approval-request"},
    Stop: {"done", "rounds", "stopped", "failed"},
    DeedOutcome: {"done", "refused", "failed"},
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path)
    yield database
    await database.close()


@pytest.mark.parametrize(("tag", "text", "meant"), ROWS, ids=[tag for tag, *_ in ROWS])
def test_a_row_of_any_release_is_read(tag: str, text: str, meant: object) -> None:
    assert codec.decode(tag, text) == meant
    written = json.loads(codec.encode(meant))
    assert (codec.tag(meant), written) == (tag, written | json.loads(text)), "and is written so still, or with more"


def test_every_stored_class_has_a_tag_of_its_own_and_none_is_lost() -> None:
    assert set(codec.TAGS) == {tag for tag, *_ in ROWS}
    assert len(set(codec.TAGS.values())) == len(codec.TAGS)
    assert set(codec.TAGS.values()) == {*get_args(Step), *get_args(Happening), HookEvent} - NOT_STORED


@pytest.mark.parametrize("names", RELEASED, ids=lambda names: names.__name__)
def test_names_that_were_released_stay(names: type[StrEnum]) -> None:
    assert {str(name) for name in names} >= RELEASED[names]


def test_what_containers_and_events_are_marked_with_stays() -> None:
    """Else a release that takes over removes every room's container, and clients and restored copies know no turn."""
    assert (container.ROOM, container.DAEMON, container.MADE) == (
        "io.roommate.room", "io.roommate.daemon", "io.roommate.made"
    )  # fmt: skip
    assert container_spec.STATE == "io.roommate.state"
    assert (TURN, ANSWERS, SAID, CARD) == (
        "io.roommate.turn", "io.roommate.answers", "io.roommate.said", "io.roommate.card"
    )  # fmt: skip


NAMES = {
    "turn", "turn.cancel", "stop", "reset", "message", "say", "react", "invite", "room.leave", "room.upgrade", "pause",
    "resume", "who", "rooms", "settings", "model", "prompt", "agents", "egress", "egress.add", "egress.remove",
    "egress.preset", "repo", "repo.add", "repo.remove", "push", "pull-request", "card.egress", "card.hook",
    "card.reset-workspace", "card.redeploy", "card.rollback", "sandbox.run", "sandbox.shell", "sandbox.stop",
    "sandbox.remove", "workspace.get", "workspace.put", "workspace.export", "workspace.import", "redeploy",
    "redeploy.ask", "rollback", "rollback.ask", "backup", "restore", "daemon.stop", "daemon.restart", "daemon.reload",
    "control", "doctor", "audit", "room.set", "room.unset", "room.devcontainer", "verbose",
    "recovery.setup", "recovery.restore",
}  # fmt: skip
"""What lines of the audit log may be of, in every release so far: people search for these."""

JOINED = {"card.", "mesh.", ".ask"}
"""Parts of such names that are put together: of a card's kind, of a method, of what is asked for."""

WHERE = {"Deed": 2, "deed_of": 1, "_deed": 1, "Changed": 1, "NotPermitted": 1}
"""The place of what was done among the arguments of what leads to a line of the audit log."""


def audited() -> Iterator[tuple[str, str]]:
    """Each name that the source gives to something that was done, and where."""
    for path in Path(roommate.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            given = [
                word.value for word in node.keywords if word.arg == "audit" or (word.arg, called) == ("what", "change")
            ]
            given += node.args[WHERE[called] :][:1] if called in WHERE else []
            for one in given:
                for part in ast.walk(one):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
                        yield part.value, f"{path}:{node.lineno}"


def test_what_the_audit_log_calls_things_is_in_its_table_and_stays_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    table = set(re.findall(r"`([a-z.-]+)`", "".join(re.findall(r"^\|.*\|(.*)\|$", page, re.MULTILINE)))) - {"daemon"}
    assert table >= NAMES | {f"card.{kind}" for kind in CardKind}
    found = dict(audited())
    assert {"egress.add", "pause", "turn"} <= found.keys(), "they are found"
    assert {name: where for name, where in found.items() if name not in table and name not in JOINED} == {}


# ── A later release has stored more, and was rolled back ─────────────────────────────────────────


def test_what_only_a_later_release_knows_is_passed_over() -> None:
    assert codec.decode("Dream", '{"of": "sheep"}') == Unknown("Dream")
    assert codec.decode("Gone", '{"reason":"left","mood":"sad"}') == Gone("left")
    later = '{"text":"","calls":[{"id":"1","name":"n","arguments":"{}","server":"mcp"}],"mood":"sad"}'
    assert codec.decode("Answer", later) == Answer("", (ToolCall("1", "n", "{}"),))
    assert Stop("bored") is Stop.FAILED


async def test_a_room_goes_on_with_the_rows_that_it_does_not_know(database: Database) -> None:
    inbox, turns, ipc, outbox = Inbox(database), Turns(database), Ipc(database), Outbox(database)
    message = Incoming(EventId("$1"), ROOM, ALICE, 1, Message("do it"))
    await inbox.commit(SyncBatch("s1", (RoomState(ROOM, "join", joined=2),), (message,)))
    turn = await turns.begin(1, ROOM, None, Prompt("do it", ALICE), "model")
    assert turn is not None
    await turns.add(turn, Answer("done"))
    heard = HookEvent(HookKind.NOTIFICATION, text="hear me")
    await ipc.commit(ROOM, [("1", heard), ("2", heard)])

    def later(c: sqlite3.Connection) -> None:
        c.execute("INSERT INTO steps (turn_id, kind, body) VALUES (?, 'Dream', '{}')", (turn.id,))
        c.execute(
            """INSERT INTO inbox (event_id, room_id, sender, sent_at, kind, body)
               VALUES ('$2', ?, ?, 1, 'Call', '{"ring":1}')""",
            (ROOM, ALICE),
        )
        c.execute("UPDATE ipc SET body = json_set(body, '$.kind', 'event-dream') WHERE name = '1'")
        c.execute(
            "INSERT INTO outbox (room_id, rank, txn_id, event_type, content) VALUES (?, 7, 't', 'm.sticker', '{}')",
            (ROOM,),
        )

    await database.run(later)
    assert await turns.conversation(turn, 1000) == [[Prompt("do it", ALICE), Answer("done")]]
    [waiting] = await inbox.waiting(ROOM)
    assert waiting.incoming.what == Unknown("Call")
    for _ in range(2):
        assert [one.event for one in await ipc.waiting(ROOM)] == [heard]
    [row] = await outbox.unsent()
    assert row.draft.rank is Rank.SIGN
