"""What a daemon of an earlier release left in its database: its own dump, see tests/data."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

DUMP = Path(__file__).parent / "data" / "state-before-operations.sql"
VERSION = 15
LATER = """
INSERT INTO outbox (id, room_id, rank, txn_id, event_type, content, event_id, state)
  VALUES (100, '!work:example.org', 0, 'roommate-100', 'm.room.message', '{}', '$event-100:example.org', 'sent');
INSERT INTO cards (room_id, outbox_id, what, expires) VALUES ('!work:example.org', 100, 'of-a-later-release', 1);
"""
"""What a later release, that was rolled back, has put up."""


def loaded(folder: Path, *, names: Mapping[str, str] | None = None, more: str = "") -> Path:
    """Make it the database of this state folder, with its cards open still, `names` for those in it, and `more` SQL."""
    text = DUMP.read_text() + LATER + more
    for old, new in (names or {}).items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "roommate.db", isolation_level=None)) as c:
        c.executescript(text)
        c.execute("UPDATE cards SET expires = ?", (time.time() + 3600,))
    return folder
