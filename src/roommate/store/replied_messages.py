"""What rows know of a message that somebody replies to, or reacts to."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from roommate.domain import Answer, EventId, Message, RoomId, UserId
from roommate.store.codec import MESSAGE, decode
from roommate.store.database import Database

ANSWER = "Answer"


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """A person's `message`, or the `answer` of a turn."""

    sender: UserId
    message: Message | None = None
    answer: str = ""


class RepliedMessages:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def find(self, room_id: RoomId, event: EventId, bot: UserId) -> KnownMessage | None:
        """None where no row has its words: it was never for the bot, is a notice of its own, or is forgotten."""

        def work(c: sqlite3.Connection) -> KnownMessage | None:
            query = f"SELECT sender, body FROM inbox WHERE event_id=? AND room_id=? AND kind='{MESSAGE}'"  # noqa: S608
            if row := c.execute(query, (event, room_id)).fetchone():
                return KnownMessage(UserId(row[0]), decode(MESSAGE, row[1]))
            said = c.execute(
                f"""SELECT body FROM steps WHERE kind='{ANSWER}' AND turn_id =
                      (SELECT turns.id FROM outbox JOIN turns ON live = outbox.id
                       WHERE outbox.event_id = ? AND turns.room_id = ? AND stop IS NOT NULL)
                    ORDER BY id DESC LIMIT 1""",  # noqa: S608 — a word of ours
                (event, room_id),
            ).fetchone()
            if said is None:
                return None
            answer: Answer = decode(ANSWER, said[0])
            return KnownMessage(bot, answer=answer.text)

        return await self._db.run(work)
