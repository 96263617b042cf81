"""🔁 below a message of the bot that offers to do once more what somebody has asked: there to be tapped."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

from roommate.domain import RUN_AGAIN, Draft, EventId, Rank

KEY = "🔁"


def again_at(event: EventId, which: str = "") -> str:
    """The `once` of a message that offers that for what was asked with `event`; of each `which` there is one."""
    return f"{RUN_AGAIN}{event}:{which or secrets.token_hex(4)}"


def put_up(c: sqlite3.Connection, message: int, event: EventId) -> Sequence[Draft]:
    """What goes with this row of the outbox, which has arrived as `event`, if it offers that."""
    room_id, once = c.execute("SELECT room_id, once FROM outbox WHERE id=?", (message,)).fetchone()
    if not (once or "").startswith(RUN_AGAIN):
        return []
    relation = {"rel_type": "m.annotation", "event_id": event, "key": KEY}
    return [Draft(room_id, {"m.relates_to": relation}, Rank.SIGN, event_type="m.reaction", once=f"tap:{message}")]


def offered(once: str | None) -> EventId | None:
    """What a message with this `once` offers to do again."""
    if once is None or not once.startswith(RUN_AGAIN):
        return None
    return EventId(once.removeprefix(RUN_AGAIN).rpartition(":")[0])
