"""What the audit log costs a turn, and what it costs to take secrets out of a log line."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.stage import Figure, Stage, figure
from roommate.domain import Deed, EventId, Incoming, Message, Prompt, RoomId, RoomState, SyncBatch, UserId
from roommate.logs.redaction import Redaction
from roommate.store import Database, Inbox, Turns, audit

ROOM, ALICE = RoomId("!a-room-of-the-benchmark:example.org"), UserId("@alice:example.org")
LINE = f"WARNING {ROOM} turn 12: the homeserver did not send: M_LIMIT_EXCEEDED Too Many Requests; trying again in 4.8 s"


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        database = Database.open(Path(folder))
        try:
            figures = await _turns(database, 5 * rounds)
        finally:
            await database.close()
    redact = Redaction(["a password of ours", "a key of ours"])
    samples = []
    for _ in range(50 * rounds):
        began = time.perf_counter()
        redact(LINE)
        samples.append((time.perf_counter() - began) * 1e6)
    return [*figures, figure("taking secrets out of a log line", samples, "µs")]


async def _turns(database: Database, rounds: int) -> list[Figure]:
    """The transaction that begins a turn, and the audit record that is a part of it."""
    inbox, turns = Inbox(database), Turns(database)
    deed = Deed(ALICE, "$an-event-of-the-benchmark", "turn", room_id=ROOM, subject="turn 12")
    messages = [Incoming(EventId(f"${number}"), ROOM, ALICE, 1, Message("hello")) for number in range(rounds)]
    await inbox.commit(SyncBatch("s", (RoomState(ROOM, "join", joined=2),), tuple(messages)))
    begins = []
    for waiting in await inbox.waiting(ROOM):
        began = time.perf_counter()
        begun = await turns.begin(waiting.seq, ROOM, None, Prompt("hello", ALICE), "m")
        begins.append((time.perf_counter() - began) * 1e6)
        assert begun is not None

    def record(c: object) -> float:
        began = time.perf_counter()
        audit.insert(c, [deed])  # type: ignore[arg-type]
        return (time.perf_counter() - began) * 1e6

    records = [await database.run(record) for _ in range(rounds)]
    whole, part = figure("transaction that begins a turn", begins, "µs"), figure("audit record in it", records, "µs")
    ratio = part.value / whole.value
    goal = "≤ 0.1 × the transaction"
    return [whole, replace(part, baseline=whole.name, ratio=ratio, goal=goal, met=ratio <= 0.1)]
