"""The bot's own messages, as a sync brings them among what people say: each is known by its transaction id.

The sync may bring one before the answer to its sending is here, or instead, after a kill. What people say to it by then
counts: that a card is answered, that a turn is to stop.
"""

from __future__ import annotations

import sqlite3

from roommate.domain import EventId
from roommate.store import outbox


def note(c: sqlite3.Connection, event: EventId, txn_id: str) -> None:
    """A message came, as this event, sent with this transaction id. It has arrived; where it is a card the rows of the
    inbox so far are older, and answer it not."""
    if row := c.execute("SELECT id FROM outbox WHERE txn_id=? AND state='unsent'", (txn_id,)).fetchone():
        outbox.arrive(c, row[0], event)
    c.execute(
        """UPDATE cards SET behind=(SELECT coalesce(max(seq), 0) FROM inbox)
           WHERE behind IS NULL AND outbox_id IN (SELECT id FROM outbox WHERE txn_id=? OR event_id=?)""",
        (txn_id, event),
    )
