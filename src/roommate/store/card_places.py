"""Where cards stand among what people say: nothing that was said before a card was there answers it."""

from __future__ import annotations

import sqlite3

from roommate.domain import EventId


def note(c: sqlite3.Connection, event: EventId, txn_id: str) -> None:
    """A card came with the sync, as this event, sent with this transaction id: the rows of the inbox so far are older.

    The sync may bring it before the answer to its sending is here, or instead, after a kill; then the transaction id
    tells which it is, so that what people say to it by then is an answer."""
    c.execute("UPDATE outbox SET event_id=? WHERE txn_id=? AND event_id IS NULL", (event, txn_id))
    c.execute(
        """UPDATE cards SET behind=(SELECT coalesce(max(seq), 0) FROM inbox)
           WHERE behind IS NULL AND outbox_id IN (SELECT id FROM outbox WHERE txn_id=? OR event_id=?)""",
        (txn_id, event),
    )
