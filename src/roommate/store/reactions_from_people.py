"""What people mean by a reaction to a message of a turn: that it stops, runs again, or how good its answer is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from roommate.domain import EventId, Incoming, Message, Prompt, RoomId, UserId
from roommate.store import received_files
from roommate.store.codec import MESSAGE, PROMPT, decode, encode
from roommate.store.database import Database, Work
from roommate.store.run_again_reaction import offered


@dataclass(frozen=True, slots=True)
class Target:
    """What somebody reacts to. `prompt` is the message that was asked with it; `turn` the one that answers there."""

    prompt: EventId
    turn: int | None = None
    runs: bool = False


class MessageReactions:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def target(self, room_id: RoomId, event: EventId) -> Target | None:
        """None for a message that is none of a turn, and that nothing can be done again for."""

        def work(c: sqlite3.Connection) -> Target | None:
            row = c.execute(
                """SELECT turns.id, turns.event_id, stop, once FROM outbox LEFT JOIN turns ON live = outbox.id
                   WHERE outbox.event_id = ? AND outbox.room_id = ?""",
                (event, room_id),
            ).fetchone()
            if row and row[0] is not None:
                return Target(EventId(row[1]), row[0], runs=row[2] is None)
            if row:
                prompt = offered(row[3])
                return Target(prompt) if prompt else None
            asked = c.execute("SELECT 1 FROM turns WHERE event_id = ? AND room_id = ?", (event, room_id)).fetchone()
            return Target(event) if asked or received_files.has_failed(c, room_id, event) else None

        return await self._db.run(work)

    async def feedback(self) -> Mapping[RoomId, Mapping[str, int]]:
        """How often people have given each sign for an answer, by room."""
        query = "SELECT room_id, key, count(*) FROM feedback GROUP BY room_id, key"
        found: dict[RoomId, dict[str, int]] = {}
        for room_id, key, count in await self._db.rows(query):
            found.setdefault(RoomId(room_id), {})[key] = count
        return found


def rating(turn: int, key: str, incoming: Incoming) -> Work[object]:
    """Keep what somebody thinks of an answer."""
    row = (turn, incoming.room_id, incoming.sender, key, incoming.event_id, time.time())
    query = "INSERT OR REPLACE INTO feedback (turn_id, room_id, sender, key, event_id, at) VALUES (?, ?, ?, ?, ?, ?)"
    return lambda c: c.execute(query, row)


def unrated(c: sqlite3.Connection, event: EventId) -> None:
    """They have taken it back."""
    c.execute("DELETE FROM feedback WHERE event_id = ?", (event,))


def asking_again(seq: int, room_id: RoomId, prompt: EventId, bot: UserId) -> Work[bool]:
    """The row of a reaction becomes the message that it wants once more, said by who reacted; False where that message
    is forgotten, or the row was dealt with."""

    def work(c: sqlite3.Connection) -> bool:
        query = f"SELECT body FROM inbox WHERE event_id = ? AND kind = '{MESSAGE}'"  # noqa: S608 — a word of ours
        if row := c.execute(query, (prompt,)).fetchone():
            old: Message = decode(MESSAGE, row[0])
        elif (kept := _prompt(c, room_id, prompt)) is not None:
            old = Message(*kept)
        else:
            return False
        again = old.again or prompt
        message = Message(old.text, old.thread, old.reply_to, (*old.mentions, bot), old.file, again)
        query = f"UPDATE inbox SET kind = '{MESSAGE}', body = ?, state = 'new' WHERE seq = ? AND state != 'done'"  # noqa: S608
        return c.execute(query, (encode(message), seq)).rowcount > 0

    return work


def _prompt(c: sqlite3.Connection, room_id: RoomId, event: EventId) -> tuple[str, EventId | None] | None:
    """What a turn was asked, and its thread, where the message itself is forgotten."""
    row = c.execute(
        f"""SELECT body, thread FROM turns JOIN conversations ON conversation_id = conversations.id
            JOIN steps ON turn_id = turns.id AND kind = '{PROMPT}'
            WHERE event_id = ? AND turns.room_id = ? ORDER BY turns.id DESC LIMIT 1""",  # noqa: S608 — a word of ours
        (event, room_id),
    ).fetchone()
    if row is None:
        return None
    prompt: Prompt = decode(PROMPT, row[0])
    return prompt.text, EventId(row[1]) if row[1].startswith("$") else None
