"""How full the database's queues are: what monitors look at, by its indexes alone."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from roommate.store.database import Database


@dataclass(frozen=True, slots=True)
class Queues:
    """Ages are seconds, 0 where nothing waits."""

    rooms: int
    turns: int
    """That run."""
    waiting: int
    """Messages that have no answer yet."""
    waiting_seconds: float
    """Since the oldest of them was said."""
    unsent: int
    unsent_seconds: float
    """Since the oldest of what is unsent was seen here first."""
    cards: int
    database_bytes: int


class Vitals:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._oldest = (0, 0.0)
        """The oldest unsent row, and when it was seen first: the outbox keeps no time."""

    async def queues(self) -> Queues:
        def work(c: sqlite3.Connection) -> Queues:
            now = time.time()
            [rooms] = c.execute("SELECT count(*) FROM rooms WHERE membership = 'join'").fetchone()
            [turns] = c.execute("SELECT count(*) FROM turns WHERE stop IS NULL").fetchone()
            waiting, since = c.execute("SELECT count(*), min(sent_at) FROM inbox WHERE state != 'done'").fetchone()
            unsent, oldest = c.execute("SELECT count(*), min(id) FROM outbox WHERE state = 'unsent'").fetchone()
            query = "SELECT count(*) FROM cards WHERE verdict IS NULL AND expires > ?"
            [cards] = c.execute(query, (now,)).fetchone()
            [pages] = c.execute("PRAGMA page_count").fetchone()
            [size] = c.execute("PRAGMA page_size").fetchone()
            if oldest is not None and oldest != self._oldest[0]:
                self._oldest = (oldest, time.monotonic())
            return Queues(
                rooms,
                turns,
                waiting,
                max(0.0, now - since / 1000) if since else 0.0,
                unsent,
                time.monotonic() - self._oldest[1] if oldest is not None else 0.0,
                cards,
                pages * size,
            )

        return await self._db.run(work)
