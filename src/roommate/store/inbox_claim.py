"""Taking a row of the inbox: it is dealt with, and nobody sees it wait any more."""

from __future__ import annotations

import sqlite3

from roommate.domain import Draft, Rank
from roommate.store import outbox


def take(c: sqlite3.Connection, seq: int) -> bool:
    """Make a row dealt with, and take off the mark that showed it as queued; False when it was dealt with before."""
    if not c.execute("UPDATE inbox SET state='done' WHERE seq=? AND state!='done'", (seq,)).rowcount:
        return False
    if mark := c.execute("SELECT id, room_id FROM outbox WHERE once = ?", (mark_of(seq),)).fetchone():
        outbox.insert(c, [Draft(mark[1], {}, Rank.SIGN, event_type="m.room.redaction", redacts=mark[0])])
    return True


def mark_of(seq: int) -> str:
    """The `once` of the reaction that shows an inbox row as queued."""
    return f"queued:{seq}"
