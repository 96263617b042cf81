"""Which requests of other daemons were seen: each counts once, and none is forgotten while it could still count."""

from __future__ import annotations

import enum
import time
from collections import Counter

from roommate.domain import EventId
from roommate.store import power_cut
from roommate.store.database import Database, Transaction, Work

MOST_OF_A_KEY = 10_000
"""A key with so many in five minutes is refused, and none of its own are forgotten for that."""
MOST = 100_000
FORGOTTEN_AT_ONCE = 200
"""By a request that finds no room: some 5 ms on the event loop."""

AHEAD = 30_000
"""Milliseconds that the clock of who asks may be ahead of ours."""


class Claim(enum.Enum):
    NEW = enum.auto()
    SEEN = enum.auto()
    FULL = enum.auto()
    BELOW_FLOOR = enum.auto()
    """It was issued before the moment up to which nobody knows what was seen, as after a restore."""
    FORGOTTEN = enum.auto()
    """What expired then may have been forgotten: our clock was set back."""
    LOST = enum.auto()
    """It was issued before a power cut, which may have taken that it was seen."""
    DAMAGED = enum.auto()
    """What was seen is not known."""


class Nonces:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def look(
        self, key: str, nonce: str, request: str, event_id: EventId, issued: int, expires: int, now: int, made: int = 0
    ) -> Claim:
        """What `claiming` would say now. It changes nothing."""

        def work(c: Transaction) -> Claim:
            counts, is_known = _look(c, key, nonce, request, event_id, issued, expires, made)
            if counts is not Claim.NEW or is_known or not _is_full(c, key):
                return counts
            room = c.execute("SELECT 1 FROM mesh_nonces WHERE expires <= ? LIMIT 1", (now,)).fetchone()
            return Claim.NEW if room else Claim.FULL

        return await self._db.look(work)

    async def still_counts(self, issued: int, made: int) -> Claim:
        """Of one that was NEW when it came, and whose row says what became of it: is that row of after the floor?"""
        return await self._db.look(lambda c: _of_floor(c, issued, made))


def claiming(
    key: str, nonce: str, request: str, event_id: EventId, issued: int, expires: int, now: int, made: int = 0
) -> Work[Claim]:
    """Is this the first time? Then it is not from now on. The same event may ask again: it is claimed by itself.

    Times are ms since 1970, by our clock but `issued`. It is remembered until `expires`. `made` is when our own key
    was: before that nobody asked it for anything, so that a floor of before means nothing.
    """

    def work(c: Transaction) -> Claim:
        counts, is_known = _look(c, key, nonce, request, event_id, issued, expires, made)
        if counts is not Claim.NEW or is_known:
            return counts
        if _is_full(c, key) and (not _forget(c, key, now) or _is_full(c, key)):
            return Claim.FULL
        c.execute("INSERT INTO mesh_nonces VALUES (?, ?, ?, ?, ?)", (key, nonce, request, event_id, expires))
        c.execute("INSERT INTO mesh_counts VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET nonces = nonces + 1", (key,))
        return Claim.NEW

    return work


def _look(
    c: Transaction, key: str, nonce: str, request: str, event_id: EventId, issued: int, expires: int, made: int
) -> tuple[Claim, bool]:
    """Whether it counts, and whether it is remembered already."""
    counts = _of_floor(c, issued, made)
    if counts is Claim.DAMAGED:
        return counts, False
    found = c.execute(
        """SELECT nonce, request, event_id FROM mesh_nonces WHERE key=? AND nonce=?
           UNION SELECT nonce, request, event_id FROM mesh_nonces WHERE key=? AND request=?""",
        (key, nonce, key, request),  # each by its index, which an OR is not
    ).fetchall()
    if found:
        itself = found == [(nonce, request, event_id)]  # below the floor its row, which knows what came of it, is gone
        return Claim.NEW if itself and counts is Claim.NEW else Claim.SEEN, True
    if counts is Claim.NEW and expires <= c.execute("SELECT forgotten FROM mesh_floor").fetchone()[0]:
        return Claim.FORGOTTEN, False
    if counts is Claim.NEW and issued <= power_cut.at(c) + AHEAD:
        return Claim.LOST, False
    return counts, False


def raise_floor(c: Transaction) -> None:
    """Refuse all that was issued up to now, by whoever's clock: what was seen until now is not known any more."""
    c.execute("UPDATE mesh_floor SET issued = max(issued, ?)", (int(time.time() * 1000) + AHEAD,))


def _of_floor(c: Transaction, issued: int, made: int) -> Claim:
    floor = c.execute("SELECT issued FROM mesh_floor").fetchall()
    if len(floor) != 1:
        return Claim.DAMAGED
    lowest = floor[0][0]
    return Claim.BELOW_FLOOR if issued <= lowest and made < lowest - AHEAD else Claim.NEW


def _is_full(c: Transaction, key: str) -> bool:
    counts = _counts(c)
    return counts[key] >= MOST_OF_A_KEY or counts.total() >= MOST


def _counts(c: Transaction) -> Counter[str]:
    return Counter(dict(c.execute("SELECT key, nonces FROM mesh_counts").fetchall()))


def _forget(c: Transaction, key: str, now: int) -> bool:
    """Forget some that have expired: the key's own where it has too many. False where there are none."""
    gone = c.execute(
        """DELETE FROM mesh_nonces WHERE (key, nonce) IN (
             SELECT key, nonce FROM mesh_nonces WHERE expires <= ? AND key = iif(?, ?, key) LIMIT ?) RETURNING key""",
        (now, _counts(c)[key] >= MOST_OF_A_KEY, key, FORGOTTEN_AT_ONCE),
    ).fetchall()
    for whose, rows in Counter(whose for (whose,) in gone).items():
        c.execute("UPDATE mesh_counts SET nonces = nonces - ? WHERE key=?", (rows, whose))
    if gone:
        c.execute("UPDATE mesh_floor SET forgotten = max(forgotten, ?)", (now,))
    return bool(gone)
