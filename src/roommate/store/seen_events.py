"""Events whose rows are forgotten: each is eight bytes of its hash, so that it is still known, and whose it was."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

from roommate.domain import EventId


def remember(c: sqlite3.Connection, events: Iterable[EventId], *, ours: bool) -> None:
    """Their rows go. `ours`: the bot has said them."""
    c.executemany("INSERT OR IGNORE INTO known (event, ours) VALUES (?, ?)", [(_key(event), ours) for event in events])


def is_known(c: sqlite3.Connection, event: EventId) -> bool:
    return c.execute("SELECT 1 FROM known WHERE event = ?", (_key(event),)).fetchone() is not None


def is_ours(c: sqlite3.Connection, event: EventId) -> bool:
    return c.execute("SELECT 1 FROM known WHERE event = ? AND ours", (_key(event),)).fetchone() is not None


def _key(event: EventId) -> int:
    """Of a billion events, two share it with a chance of one to forty."""
    return int.from_bytes(hashlib.sha256(event.encode(errors="surrogatepass")).digest()[:8], "big", signed=True)
