"""What was said in a room of late, and the turns that began with it: as a restart finds it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import Message, Reaction, RoomId, UserId
from roommate.store.codec import decode
from roommate.store.database import Work
from roommate.store.inbox_claim import mark_of

NO_TURN = (None, None)


@dataclass(frozen=True, slots=True)
class Said:
    """A message or a reaction that was looked at. Times are seconds since 1970, None where there was none."""

    who: UserId
    what: Message | Reaction
    begun: float | None
    """When its turn began."""
    ended: float | None
    waited: bool
    """It was queued, behind another turn or for somebody's word."""
    held: bool
    """For somebody's word: two bots had talked with each other, it seemed."""


def held_key(room_id: RoomId, seq: int) -> str:
    """The `once` of what says that this row of the inbox waits for somebody's word."""
    return f"loops:{room_id}:{seq}"


def said_lately(room_id: RoomId, since: float) -> Work[Sequence[Said]]:
    """In order: from the first turn that began `since` then, and from what waits for somebody's word."""

    def work(c: sqlite3.Connection) -> Sequence[Said]:
        turns: dict[int, tuple[float | None, float | None]] = {}
        newest = c.execute("SELECT inbox_seq, started, ended FROM turns WHERE room_id=? ORDER BY id DESC", (room_id,))
        for seq, started, ended in newest:
            if started < since:
                break
            turns[seq] = (started, ended)
        queued = c.execute("SELECT seq FROM inbox WHERE room_id=? AND state='queued'", (room_id,)).fetchall()
        first = min([*turns, *(seq for (seq,) in queued if _is_said(c, held_key(room_id, seq)))], default=None)
        if first is None:
            return []
        rows = c.execute(
            "SELECT seq, sender, kind, body FROM inbox WHERE room_id=? AND seq>=? AND state!='new' ORDER BY seq",
            (room_id, first),
        ).fetchall()
        said = []
        for seq, sender, kind, body in rows:
            what = decode(kind, body)
            if isinstance(what, Message | Reaction):
                begun, ended = turns.get(seq, NO_TURN)
                waited, held = _is_said(c, mark_of(seq)), _is_said(c, held_key(room_id, seq))
                said.append(Said(UserId(sender), what, begun, ended, waited, held))
        return said

    return work


def _is_said(c: sqlite3.Connection, once: str) -> bool:
    return c.execute("SELECT 1 FROM outbox WHERE once=?", (once,)).fetchone() is not None
