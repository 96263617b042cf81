"""That the database is a copy which was put back: kept until the rooms that it concerns were told."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import Draft, RoomId
from roommate.store import mesh_nonces, mesh_peers, outbox
from roommate.store.database import Database


@dataclass(frozen=True, slots=True)
class Past:
    """When the copy was made, in ms since 1970, and the rooms in which something has happened since."""

    at: int
    rooms: Sequence[RoomId]


class Restored:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def mark(self, at: int) -> int:
        """This database is a copy of that moment. What was not over then may have gone on since, and who was trusted
        may be so no more: gives how many daemons operators have to look at."""

        def work(c: sqlite3.Connection) -> int:
            c.execute(
                """UPDATE sync SET restored = ?, restored_seq = coalesce(
                     (SELECT min(seq) - 1 FROM (SELECT seq FROM inbox WHERE state != 'done' UNION ALL
                                                SELECT inbox_seq AS seq FROM turns WHERE stop IS NULL)),
                     (SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0)""",
                (at,),
            )
            mesh_nonces.raise_floor(c)
            return mesh_peers.doubt(c)

        return await self._db.run(work)

    async def untold(self) -> Past | None:
        """What people have to be told; ask for it after the first sync."""

        def work(c: sqlite3.Connection) -> Past | None:
            [at, seq] = c.execute("SELECT restored, restored_seq FROM sync").fetchone()
            if at is None:
                return None
            rows = c.execute(
                """SELECT DISTINCT room_id FROM inbox JOIN rooms USING (room_id)
                   WHERE seq > ? AND membership = 'join' ORDER BY room_id""",
                (seq,),
            )
            return Past(at, [RoomId(room) for (room,) in rows])

        return await self._db.run(work)

    async def told(self, drafts: Sequence[Draft]) -> None:
        def work(c: sqlite3.Connection) -> None:
            outbox.insert(c, drafts)
            c.execute("UPDATE sync SET restored = NULL")

        await self._db.run(work)
