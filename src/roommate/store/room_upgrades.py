"""Rooms that were replaced (``m.room.tombstone``): how far we have followed, and the move of all that a room owns."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from roommate.domain import Deed, Draft, EventId, JsonObject, Rank, RoomId, Tombstone, UserId
from roommate.store import audit, card_choice_reactions, outbox
from roommate.store.codec import MESSAGE, encode, tag
from roommate.store.database import Database
from roommate.store.inbox_claim import take

OLD_THREAD = "old:"
"""Before the root of a thread whose room is no more: its conversation is known, and nothing can be said in it."""

MOVED = "its room was replaced"
"""Why a row of the outbox has failed that was for the old room."""


class State(StrEnum):
    OPEN = "open"
    """To be followed now: no turn begins in either of the rooms."""
    UNINVITED = "uninvited"
    """The bot may not join the new room before it is invited."""
    REFUSED = "refused"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Upgrade:
    old: RoomId
    new: RoomId
    tombstone: EventId
    by: UserId
    state: State


_COLUMNS = "old, new, tombstone, by, state"
_GO_OVER = (
    "UPDATE OR IGNORE egress SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE room_settings SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE repos SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE agents_preferred SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE egress_presets SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE pauses SET room_id=?2 WHERE room_id=?1",
    "UPDATE schedules SET room_id=?2, thread=NULL WHERE room_id=?1",
    "UPDATE OR IGNORE ipc SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE background_jobs SET room_id=?2, thread='' WHERE room_id=?1",
    "UPDATE feedback SET room_id=?2 WHERE room_id=?1",
    "UPDATE OR IGNORE received_files SET room_id=?2, thread='' WHERE room_id=?1",
)
"""Rows that go over as they are; where the new room has such a row already, that one counts."""
_STAY_BEHIND = (
    "DELETE FROM background_jobs WHERE room_id=?",
    "DELETE FROM egress WHERE room_id=?",
    "DELETE FROM room_settings WHERE room_id=?",
    "DELETE FROM repos WHERE room_id=?",
    "DELETE FROM agents_preferred WHERE room_id=?",
    "DELETE FROM egress_presets WHERE room_id=?",
    "DELETE FROM pauses WHERE room_id=?",
    "DELETE FROM ipc WHERE room_id=?",
)


class Upgrades:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def of(self, old: RoomId) -> Upgrade | None:
        """How `old` is replaced."""
        return await self._db.look(lambda c: _upgrade(c, f"SELECT {_COLUMNS} FROM upgrades WHERE old=?", old))  # noqa: S608

    async def into(self, new: RoomId) -> Upgrade | None:
        """What `new` replaces, unless that was refused."""
        query = f"SELECT {_COLUMNS} FROM upgrades WHERE new=? AND state!='refused'"  # noqa: S608
        return await self._db.look(lambda c: _upgrade(c, query, new))

    async def newest(self, room_id: RoomId) -> RoomId:
        """The room that this one has become."""

        def work(c: sqlite3.Connection) -> RoomId:
            seen = {room_id}
            at = room_id
            while (row := c.execute("SELECT new FROM upgrades WHERE old=? AND state='moved'", (at,)).fetchone()) and (
                row[0] not in seen
            ):
                at = RoomId(row[0])
                seen.add(at)
            return at

        return await self._db.run(work)

    async def uninvited(self, seq: int, upgrade: Upgrade, told: list[Draft]) -> None:
        """The bot has to be invited: the rest is done then."""
        await self._db.run(lambda c: _end(c, seq, upgrade, State.UNINVITED, told, []))

    async def refused(self, seq: int, upgrade: Upgrade, told: list[Draft], deed: Deed) -> None:
        """It is not followed, and operators are told why."""
        await self._db.run(lambda c: _end(c, seq, upgrade, State.REFUSED, told, [deed]))

    async def again(self, upgrade: Upgrade) -> None:
        """The bot was invited and is in: the tombstone is to be looked at once more."""

        def work(c: sqlite3.Connection) -> None:
            query = "UPDATE upgrades SET state='open' WHERE old=? AND state='uninvited'"
            if c.execute(query, (upgrade.old,)).rowcount:
                tombstone = Tombstone(upgrade.new)
                c.execute(  # the row of then may be forgotten
                    """INSERT INTO inbox (event_id, room_id, sender, sent_at, kind, body) VALUES (?, ?, ?, ?, ?, ?)
                       ON CONFLICT (event_id) DO UPDATE SET state='new'""",
                    (upgrade.tombstone, upgrade.old, upgrade.by, 0, tag(tombstone), encode(tombstone)),
                )

        await self._db.run(work)

    async def cards(self, old: RoomId) -> Mapping[int, EventId]:
        """The open questions of a room that people see there, with the events that show them."""
        query = """SELECT cards.id, outbox.event_id FROM cards JOIN outbox ON outbox_id = outbox.id
                   WHERE expires > ? AND verdict IS NULL AND cards.room_id=? AND outbox.event_id IS NOT NULL"""
        rows = await self._db.rows(query, time.time(), old)
        return {card: EventId(event) for card, event in rows}

    async def move(self, seq: int, upgrade: Upgrade, shown: Mapping[int, JsonObject], said: Draft, deed: Deed) -> None:
        """All that the old room owns is the new one's, with what waits in it, and `said` in there: one transaction.

        `shown` has the contents of the open cards, which are put up again. Nothing may run or be sent in either room.
        """

        def work(c: sqlite3.Connection) -> None:
            if not take(c, seq):
                return
            c.execute("UPDATE upgrades SET state='moved' WHERE old=?", (upgrade.old,))
            outbox.insert(c, [said])
            audit.insert(c, [deed])
            _move_settings(c, upgrade.old, upgrade.new)
            _move_sums(c, upgrade.old, upgrade.new)
            _move_conversations(c, upgrade.old, upgrade.new)
            _move_inbox(c, upgrade.old, upgrade.new)
            _move_outbox(c, upgrade.old, upgrade.new)
            _move_cards(c, upgrade.old, upgrade.new, shown)

        await self._db.run(work)


def note(c: sqlite3.Connection, old: RoomId, new: RoomId, tombstone: EventId, by: UserId) -> None:
    """A tombstone has come in; what fails from now on in the old room can be said in the new one."""
    c.execute(
        """INSERT INTO upgrades (old, new, tombstone, by, state, first_unsent)
           VALUES (?1, ?2, ?3, ?4, 'open', coalesce((SELECT min(id) FROM outbox WHERE state='unsent'),
                                                    (SELECT max(id) + 1 FROM outbox), 1))
           ON CONFLICT (old) DO UPDATE SET new=?2, tombstone=?3, by=?4, state='open',
             first_unsent=min(first_unsent, excluded.first_unsent) WHERE state != 'moved'""",
        (old, new, tombstone, by),
    )


def forget(c: sqlite3.Connection, old: RoomId, tombstone: EventId) -> None:
    """The tombstone was taken back, if that is what it is."""
    query = "UPDATE upgrades SET state='refused' WHERE old=? AND tombstone=? AND state!='moved'"
    c.execute(query, (old, tombstone))


def _upgrade(c: sqlite3.Connection, query: str, room_id: RoomId) -> Upgrade | None:
    row = c.execute(query, (room_id,)).fetchone()
    if row is None:
        return None
    old, new, tombstone, by, state = row
    return Upgrade(old, new, tombstone, by, State(state))


def _end(c: sqlite3.Connection, seq: int, upgrade: Upgrade, state: State, told: list[Draft], deeds: list[Deed]) -> None:
    if take(c, seq):
        c.execute("UPDATE upgrades SET state=? WHERE old=?", (state, upgrade.old))
        outbox.insert(c, told)
        audit.insert(c, deeds)


def _move_settings(c: sqlite3.Connection, old: RoomId, new: RoomId) -> None:
    c.execute(
        """INSERT INTO rooms (room_id, membership, name, model, prompt, threads)
           SELECT ?2, 'join', name, model, prompt, threads FROM rooms WHERE room_id=?1
           ON CONFLICT (room_id) DO UPDATE SET name = coalesce(name, excluded.name),
             model = coalesce(model, excluded.model), prompt = coalesce(prompt, excluded.prompt),
             threads = max(threads, excluded.threads)""",
        (old, new),
    )
    c.execute("UPDATE rooms SET model=NULL, prompt=NULL WHERE room_id=?", (old,))
    for query in _GO_OVER:
        c.execute(query, (old, new))
    for query in _STAY_BEHIND:
        c.execute(query, (old,))


def _move_sums(c: sqlite3.Connection, old: RoomId, new: RoomId) -> None:
    c.execute(
        """INSERT INTO spending SELECT ?2, turns, input_tokens, output_tokens, cost, cached_tokens FROM spending
           WHERE room_id=?1
           ON CONFLICT (room_id) DO UPDATE SET turns = turns + excluded.turns,
             input_tokens = input_tokens + excluded.input_tokens,
             output_tokens = output_tokens + excluded.output_tokens,
             cached_tokens = cached_tokens + excluded.cached_tokens,
             cost = coalesce(cost + excluded.cost, cost, excluded.cost)""",
        (old, new),
    )
    c.execute("DELETE FROM spending WHERE room_id=?", (old,))
    c.execute(
        """INSERT INTO agent_usage SELECT ?2, agent, model, requests, input_tokens, output_tokens, cached_tokens
           FROM agent_usage WHERE room_id=?1
           ON CONFLICT (room_id, agent, model) DO UPDATE SET requests = requests + excluded.requests,
             input_tokens = input_tokens + excluded.input_tokens,
             output_tokens = output_tokens + excluded.output_tokens,
             cached_tokens = cached_tokens + excluded.cached_tokens""",
        (old, new),
    )
    c.execute("DELETE FROM agent_usage WHERE room_id=?", (old,))
    c.execute(
        """INSERT INTO tokens_spent SELECT ?2, quarter, tokens FROM tokens_spent WHERE room_id=?1
           ON CONFLICT (room_id, quarter) DO UPDATE SET tokens = tokens + excluded.tokens""",
        (old, new),
    )
    c.execute("DELETE FROM tokens_spent WHERE room_id=?", (old,))


def _move_conversations(c: sqlite3.Connection, old: RoomId, new: RoomId) -> None:
    """The turn that was interrupted gets a message of its own in the new room."""
    c.execute("UPDATE turns SET room_id=?2, live=NULL WHERE room_id=?1 AND stop IS NULL", (old, new))
    c.execute("UPDATE turns SET room_id=?2 WHERE room_id=?1", (old, new))
    for conversation, thread in c.execute("SELECT id, thread FROM conversations WHERE room_id=?", (old,)).fetchall():
        kept = OLD_THREAD + thread if thread.startswith("$") else thread
        there = c.execute("SELECT id, cleared FROM conversations WHERE room_id=? AND thread=?", (new, kept)).fetchone()
        if there:
            c.execute("UPDATE turns SET conversation_id=? WHERE conversation_id=?", (conversation, there[0]))
            c.execute("UPDATE conversations SET cleared=max(cleared, ?) WHERE id=?", (there[1], conversation))
            c.execute("DELETE FROM agent_sessions WHERE conversation_id=?", (there[0],))
            c.execute("DELETE FROM conversations WHERE id=?", (there[0],))
        c.execute("UPDATE conversations SET room_id=?, thread=? WHERE id=?", (new, kept, conversation))


def _move_inbox(c: sqlite3.Connection, old: RoomId, new: RoomId) -> None:
    """What waits. People saw in the old room that it does: nothing can be marked from the new one."""
    query = f"SELECT seq FROM inbox WHERE room_id=? AND state!='done' AND kind='{MESSAGE}'"  # noqa: S608 — a word of ours
    rows = c.execute(query, (old,)).fetchall()
    for (seq,) in rows:
        c.execute("UPDATE outbox SET once=NULL WHERE once='queued:' || ?", (seq,))
        c.execute(
            """UPDATE inbox SET room_id=?, body=json_set(body, '$.thread', NULL, '$.reply_to', NULL),
                 state=iif(state='held' OR trim(body ->> '$.text') LIKE '!%', state, 'queued') WHERE seq=?""",
            (new, seq),
        )


def _move_outbox(c: sqlite3.Connection, old: RoomId, new: RoomId) -> None:
    """What had not arrived when the tombstone was set, as far as it can be said elsewhere."""
    [first] = c.execute("SELECT first_unsent FROM upgrades WHERE old=?", (old,)).fetchone()
    rows = c.execute(
        """SELECT id, rank, once, content, upload, event_type, redacts, state FROM outbox WHERE id >= ? AND room_id=?
           AND (state='unsent' OR (state='failed' AND failed LIKE '%M_FORBIDDEN%')) ORDER BY id""",
        (first, old),
    ).fetchall()
    for row, rank, once, content, upload, event_type, redacts, state in rows:
        c.execute("UPDATE outbox SET state='failed', failed=?, once=NULL, upload=NULL WHERE id=?", (MOVED, row))
        if event_type != "m.room.message" or redacts is not None or rank == Rank.SIGN:
            continue
        kept = {name: value for name, value in json.loads(content).items() if name != "m.relates_to"}
        if state == "failed" and "url" not in kept and kept.get("msgtype") in ("m.file", "m.image"):
            continue  # a file whose bytes are gone
        [anew] = outbox.insert(c, [Draft(new, kept, Rank(rank), upload=upload, once=once)])
        c.execute("UPDATE cards SET outbox_id=?, room_id=?, thread=NULL WHERE outbox_id=?", (anew, new, row))


def _move_cards(c: sqlite3.Connection, old: RoomId, new: RoomId, shown: Mapping[int, JsonObject]) -> None:
    for card, content in shown.items():
        card_choice_reactions.take_off(c, card)  # nothing can be said in the old room
        kept = {name: value for name, value in content.items() if name != "m.relates_to"}
        [row] = outbox.insert(c, [Draft(new, kept, Rank.CARD)])
        c.execute(
            "UPDATE cards SET outbox_id=?, room_id=?, thread=NULL WHERE id=? AND verdict IS NULL", (row, new, card)
        )
    c.execute("UPDATE cards SET room_id=?, thread=NULL WHERE room_id=? AND pending", (new, old))
