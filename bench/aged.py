"""A database that has grown old: what every turn asks of it, and what operators ask of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from bench.stage import Figure, Stage, figure
from roommate.agent.window import MOST_CHARACTERS
from roommate.domain import EventId, Incoming, Message, Prompt, RoomId, RoomState, SyncBatch, UserId
from roommate.store import Cards, Database, Inbox, Retention, Turns, audit
from roommate.store.migrations import STEPS

TURNS, ROOMS = 334_000, 40
"""A year of nearly a thousand turns a day."""
HEAVY = RoomId("!room-0:example.org")
"""Its newest turns read files and run tests."""
HEAVY_TURNS, HEAVY_STEPS, HEAVY_BYTES = 200, 24, 4000
ALICE = UserId("@alice:example.org")
MODEL_TOKENS = 32_768
DAY = 86_400
FORGETTING_TURNS = 20_000
BEFORE_SUMS = next(number for number, script in enumerate(STEPS) if "CREATE TABLE spending" in script)


def fill(file: Path, turns: int = TURNS) -> None:
    """Make the database of a daemon that has answered so many prompts, as it was before turns were summed."""
    c = sqlite3.connect(file, isolation_level=None)
    c.execute("PRAGMA auto_vacuum=INCREMENTAL")
    c.execute("PRAGMA journal_mode=WAL")
    for script in STEPS[:BEFORE_SUMS]:
        c.executescript(script)
    c.executescript(f"PRAGMA user_version = {BEFORE_SUMS}; PRAGMA synchronous=OFF; BEGIN")
    begins = time.time() - 365 * DAY
    for name, rows in _rows(turns, begins):
        values = ", ".join("?" * (len(rows[0]) - 1))
        c.executemany(f"INSERT INTO {name} VALUES (?, {values})", rows)
    c.execute("COMMIT")
    c.close()


def _rows(turns: int, begins: float) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    yield "rooms (room_id, membership, joined)", [(f"!room-{room}:example.org", "join", 2) for room in range(ROOMS)]
    yield "conversations (id, room_id, thread)", [(r + 1, f"!room-{r}:example.org", "") for r in range(ROOMS)]
    for start in range(1, turns + 1, 10_000):
        numbers = range(start, min(start + 10_000, turns + 1))
        at = {n: begins + n * 365 * DAY / turns for n in numbers}
        room = {n: n % ROOMS for n in numbers}
        told = (
            "Message",
            json.dumps({"text": "Please look at the tests, and say what fails.", "mentions": []}),
            "done",
        )
        yield (
            "inbox",
            [
                (n, f"$prompt-{n}-{'x' * 32}", f"!room-{room[n]}:example.org", ALICE, int(at[n] * 1000), *told)
                for n in numbers
            ],
        )  # fmt: skip
        yield (
            "outbox (id, room_id, rank, txn_id, event_type, content, edits, event_id, state)",
            [
                (2 * n + i, f"!room-{room[n]}:example.org", 1, f"roommate-{2 * n + i:024}", "m.room.message", "{}",
                 2 * n if i else None, f"$answer-{2 * n + i}-{'x' * 32}", "sent") for n in numbers for i in (0, 1)
            ],
        )  # fmt: skip
        yield (
            "turns",
            [(n, room[n] + 1, n, 2 * n, "gemini/gemini-2.5-flash", "done", at[n], at[n] + 9, 9000, 300, 0.01)
             for n in numbers],
        )  # fmt: skip
        prompt = ("Prompt", json.dumps({"text": "Please look at the tests.", "sender": ALICE}))
        answer = ("Answer", json.dumps({"text": "All of them pass. " * 20, "calls": []}))
        result = ("ToolResult", json.dumps({"call_id": "c", "text": "x = 1  # as it was\n" * (HEAVY_BYTES // 20)}))
        steps: list[tuple[object, ...]] = []
        for n in numbers:
            heavy = room[n] == 0 and n > turns - HEAVY_TURNS * ROOMS
            steps += [(n, *prompt), *[(n, *result)] * (HEAVY_STEPS if heavy else 1), (n, *answer)]
        yield "steps (turn_id, kind, body)", steps
        yield (
            "audit",
            [(n, int(at[n] * 1000), ALICE, "$e", "turn", "done", "!r", f"turn {n}", "", b"x" * 32) for n in numbers],
        )
        yield (
            "cards (id, room_id, outbox_id, what, verdict, expires)",
            [(n, "!r", 2 * n, "egress", "✅", at[n] + DAY) for n in numbers if n % 50 == 0],
        )


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        fill(Path(folder) / "roommate.db")
        began = time.perf_counter()
        database = Database.open(Path(folder))
        figures = [figure("bringing an old database up to date", [time.perf_counter() - began])]
        try:
            figures += await _turns(database, rounds)
            figures += await _questions(database, rounds)
        finally:
            await database.close()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        fill(Path(folder) / "roommate.db", FORGETTING_TURNS)
        return figures + await _forgetting(Path(folder))


async def _turns(database: Database, rounds: int) -> list[Figure]:
    """The store's part of a turn in a heavy room, in CPU time of the whole process: nothing else runs in it."""
    inbox, turns = Inbox(database), Turns(database)
    messages = [Incoming(EventId(f"$new-{number}"), HEAVY, ALICE, 1, Message("hello")) for number in range(rounds)]
    await inbox.commit(SyncBatch("s", (RoomState(HEAVY, "join", joined=2),), tuple(messages)))
    samples = []
    for waiting in await inbox.waiting(HEAVY):
        began = time.process_time()
        turn = await turns.begin(waiting.seq, HEAVY, None, Prompt("hello", ALICE), "m")
        assert turn is not None
        await turns.conversation(turn, MOST_CHARACTERS * MODEL_TOKENS)
        samples.append(time.process_time() - began)
        await database.run(lambda c: c.execute("UPDATE turns SET stop='done', ended=started WHERE stop IS NULL"))
    return [figure("CPU to begin a turn in a heavy room", samples)]


async def _forgetting(folder: Path) -> list[Figure]:
    """What others wait for a transaction while eleven months of a year are forgotten, and what is left of the file."""
    database = Database.open(folder)
    try:
        before = folder.joinpath("roommate.db").stat().st_size
        quiet: list[float] = []
        busy: list[float] = []
        over = asyncio.Event()

        async def write(samples: list[float]) -> None:
            began = time.perf_counter()
            await database.run(lambda c: c.execute("UPDATE sync SET since = since"))
            samples.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)

        async def write_on() -> None:
            while not over.is_set():
                await write(busy)

        for _ in range(500):
            await write(quiet)
        writing, began = asyncio.create_task(write_on()), time.perf_counter()
        retention = Retention(database)
        await retention.sweep(time.time() - 30 * DAY)
        seconds = time.perf_counter() - began
        await retention.shrink()
        over.set()
        await writing
    finally:
        await database.close()
    after = folder.joinpath("roommate.db").stat().st_size
    return [
        figure("a transaction while nothing else is written", quiet),
        figure("the same while a year is forgotten", busy),
        Figure(f"forgetting the steps, messages and answers of {FORGETTING_TURNS} turns", seconds, "s"),
        Figure("the database before", before / 1e6, "MB"),
        Figure("the database behind it", after / 1e6, "MB"),
    ]


async def _questions(database: Database, rounds: int) -> list[Figure]:
    inbox, turns, cards = Inbox(database), Turns(database), Cards(database)

    async def usage() -> None:
        for room in range(ROOMS):
            await turns.spending(RoomId(f"!room-{room}:example.org"))

    day_ago = time.time() - DAY
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "a room's turn that was left unfinished": lambda: turns.unfinished(HEAVY),
        "rooms with work, asked at the start": inbox.rooms_with_work,
        "a room's newest 20 turns": lambda: turns.newest(20, HEAVY),
        "what each of 40 rooms has spent": usage,
        "open questions": cards.undecided,
        "the audit log of a day": lambda: database.run(lambda c: audit.read(c, since=day_ago)),
    }
    figures = []
    for name, ask in asked.items():
        samples = []
        for _ in range(rounds):
            began = time.perf_counter()
            await ask()
            samples.append(time.perf_counter() - began)
        figures.append(figure(name, samples))
    return figures
