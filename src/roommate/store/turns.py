"""Turns and their steps: each fact of a conversation is a row before anything follows from it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roommate.domain import (
    NO_USAGE,
    Answer,
    Deed,
    Draft,
    EventId,
    Prompt,
    RoomId,
    Step,
    Stop,
    ToolResult,
    Unknown,
    Usage,
    UserId,
)
from roommate.store import audit, messages_to_running_turn, outbox, tokens_spent
from roommate.store.catch_up_after_restore import adopted
from roommate.store.codec import PROMPT, decode, encode, tag
from roommate.store.database import Database, Work
from roommate.store.inbox_claim import take
from roommate.store.messages_to_running_turn import Line, Told
from roommate.store.received_files import claiming

MOST_TURNS = 200
NO_MORE: Mapping[int, Prompt] = {}

FRAME = 100
"""Characters of a step's JSON that are not its text, about."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that runs: the prompt it answers, and what is known of it so far."""

    id: int
    conversation_id: int
    room_id: RoomId
    thread: EventId | None
    asked_by: UserId
    prompt_event: EventId
    model: str
    live: int | None
    """Outbox id of the live message, None before it was put up."""
    started: float
    usage: Usage
    plans: bool = False
    """It looks, and changes nothing."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A turn, and how it ended: `stop` and `ended` (seconds since 1970) are None while it runs."""

    turn: Turn
    stop: Stop | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a room's turns took."""

    turns: int
    usage: Usage


class Turns:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def begin(
        self,
        seq: int,
        room_id: RoomId,
        thread: EventId | None,
        prompt: Prompt,
        default_model: str,
        instead: str | None = None,
        more: Mapping[int, Prompt] = NO_MORE,
        *,
        about: Sequence[EventId] = (),
        again: EventId | None = None,
        told: Told = lambda prompt, _: prompt,
        plans: bool = False,
        said: str | None = None,
    ) -> Turn | None:
        """Turn a waiting message into a turn, with what belongs to it and waits in further rows; None when the message
        was redacted in the meantime, or says something else by now than what was `said`: then it still waits.

        The model is `instead`, else the room's own, else the default. It is `told` of the files that came since the
        turn before, and of those of the events that it is `about`. It may run a message `again`: then that one is
        answered, and its files are told of once more.
        """

        changed = "SELECT 1 FROM inbox WHERE seq=? AND state != 'done' AND json_extract(body, '$.text') != ?"

        def work(c: sqlite3.Connection) -> Turn | None:
            if said is not None and c.execute(changed, (seq, said)).fetchone():
                return None
            if not take(c, seq):
                return None
            c.execute("INSERT OR IGNORE INTO conversations (room_id, thread) VALUES (?, ?)", (room_id, thread or ""))
            [conversation] = c.execute(
                "SELECT id FROM conversations WHERE room_id=? AND thread=?", (room_id, thread or "")
            ).fetchone()
            turn_id = c.execute(
                """INSERT INTO turns
                     (conversation_id, room_id, inbox_seq, sender, event_id, plans, model, started, live)
                   SELECT ?1, ?2, seq, sender, coalesce(?8, event_id), ?9,
                          coalesce(?3, (SELECT model FROM rooms WHERE rooms.room_id = ?2), ?4), ?5,
                          (SELECT id FROM outbox WHERE once = ?6)
                   FROM inbox WHERE seq = ?7""",
                (conversation, room_id, instead, default_model, time.time(), adopted(seq), seq, again, plans),
            ).lastrowid
            assert turn_id is not None
            c.execute(
                """INSERT INTO spending (room_id, turns) VALUES (?, 1)
                   ON CONFLICT (room_id) DO UPDATE SET turns = turns + 1""",
                (room_id,),
            )
            files = claiming(room_id, thread, max(seq, *more, 0), turn_id, about, again)(c)
            _add(c, turn_id, told(prompt, files))
            for row, joined in more.items():
                messages_to_running_turn.joining(turn_id, row, joined)(c)
            turn = _turn(c, turn_id)
            deed = Deed(turn.asked_by, turn.prompt_event, "turn", room_id=room_id, subject=str(turn_id))
            audit.insert(c, [deed])
            return turn

        return await self._db.run(work)

    async def unfinished(self, room_id: RoomId) -> Sequence[Turn]:
        """The turns that a crash or a restart left, oldest first."""
        query = "SELECT id FROM turns WHERE stop IS NULL AND room_id = ? ORDER BY id"
        return await self._db.run(lambda c: [_turn(c, turn) for (turn,) in c.execute(query, (room_id,)).fetchall()])

    async def conversation(self, turn: Turn, most: int) -> Sequence[Sequence[Step]]:
        """The conversation up to this turn, which is the last: its newest turns, until they have more than `most`
        characters of text, and MOST_TURNS at most."""
        return await self._db.run(lambda c: _conversation(c, turn, most))

    async def running(self) -> Sequence[Turn]:
        """The turns that have not ended, oldest first."""

        def work(c: sqlite3.Connection) -> Sequence[Turn]:
            # Sorted here: asked for an order, SQLite would look through all turns there ever were.
            rows = c.execute("SELECT id FROM turns WHERE stop IS NULL").fetchall()
            return [_turn(c, turn) for (turn,) in sorted(rows)]

        return await self._db.run(work)

    async def newest(self, most: int, room_id: RoomId | None = None) -> Sequence[TurnRow]:
        """The newest turns, of one room if given, newest first."""

        def work(c: sqlite3.Connection) -> Sequence[TurnRow]:
            rows = c.execute(
                f"SELECT id, stop, ended FROM turns {'WHERE room_id = ?' if room_id else ''} ORDER BY id DESC LIMIT ?",  # noqa: S608
                (*([room_id] if room_id else []), most),
            ).fetchall()
            return [TurnRow(_turn(c, turn), Stop(stop) if stop else None, ended) for turn, stop, ended in rows]

        return await self._db.run(work)

    async def get(self, turn_id: int) -> tuple[TurnRow, Sequence[Step]] | None:
        """A turn with its steps, none where they are forgotten; None where there is no such turn."""

        def work(c: sqlite3.Connection) -> tuple[TurnRow, Sequence[Step]] | None:
            end = c.execute("SELECT stop, ended FROM turns WHERE id=?", (turn_id,)).fetchone()
            if end is None:
                return None
            steps = c.execute("SELECT kind, body FROM steps WHERE turn_id=? ORDER BY id", (turn_id,)).fetchall()
            row = TurnRow(_turn(c, turn_id), Stop(end[0]) if end[0] else None, end[1])
            return row, _decoded(steps)

        return await self._db.run(work)

    async def add(self, turn: Turn, step: Step, usage: Usage = NO_USAGE) -> None:
        """A step is a fact. An Answer with calls is committed BEFORE they run: a crash finds what may have run."""

        def work(c: sqlite3.Connection) -> None:
            _add(c, turn.id, step)
            _spend(c, turn, usage)

        await self._db.run(work)

    async def take_lines(self, turn: Turn, told: Told) -> Sequence[Line]:
        """What was said to the turn since it was last asked are steps of it now, and so are files that came."""
        return await self._db.run(messages_to_running_turn.taking(turn.id, turn.room_id, turn.thread, told))

    async def lines_taken(self, turn: Turn) -> Sequence[EventId]:
        """What said all that it has taken in."""
        return await self._db.run(messages_to_running_turn.taken(turn.id))

    async def show(self, turn: Turn, draft: Draft) -> int:
        """Put up the live message; gives its outbox id."""

        def work(c: sqlite3.Connection) -> int:
            [row] = outbox.insert(c, [draft])
            c.execute("UPDATE turns SET live=? WHERE id=?", (row, turn.id))
            return row

        return await self._db.run(work)

    async def end(
        self,
        turn: Turn,
        stop: Stop,
        last: Answer,
        usage: Usage,
        drafts: Sequence[Draft],
        along: Work[object] | None = None,
        stopped: Sequence[ToolResult] = (),
    ) -> None:
        """The results of calls that were `stopped`, the turn's last step, how it ended and what people read of it, and
        what is to be done `along` with that: one transaction. Where a sync told meanwhile that it was answered before a
        copy of the database was put back, that is how it ended, and its message goes."""

        def work(c: sqlite3.Connection) -> None:
            (ended, live) = c.execute("SELECT stop, live FROM turns WHERE id=?", (turn.id,)).fetchone()
            if ended is not None:
                if live is not None:
                    outbox.insert(c, [Draft(turn.room_id, {}, redacts=live)])
                return
            for result in stopped:
                _add(c, turn.id, result)
            _add(c, turn.id, last)
            _spend(c, turn, usage)
            c.execute("UPDATE turns SET stop=?, ended=? WHERE id=?", (stop, time.time(), turn.id))
            c.execute(
                "UPDATE cards SET waits=0 WHERE room_id=? AND turn_id=? AND verdict IS NULL", (turn.room_id, turn.id)
            )
            shown = outbox.insert(c, drafts)
            if shown:  # of an answer at once there was no live message: it is the answer that people react to
                c.execute("UPDATE turns SET live=coalesce(live, ?) WHERE id=?", (shown[0], turn.id))
            if along is not None:
                along(c)

        await self._db.run(work)

    async def spending(self, room_id: RoomId) -> Spending:
        query = "SELECT turns, input_tokens, output_tokens, cost, cached_tokens FROM spending WHERE room_id = ?"
        row = await self._db.row(query, room_id)
        count, *usage = row or (0, 0, 0, None, 0)
        return Spending(count, Usage(*usage))


def clearing(room_id: RoomId, thread: EventId | None) -> Work[int]:
    """Forget a conversation, its sessions with coding agents too; gives how many turns of it the model will not see any
    more."""
    query = "SELECT id, cleared FROM conversations WHERE room_id=? AND thread=?"
    return lambda c: _clear(c, c.execute(query, (room_id, thread or "")).fetchall())


def clearing_all(room_id: RoomId) -> Work[int]:
    """Forget all conversations of a room."""
    query = "SELECT id, cleared FROM conversations WHERE room_id=?"
    return lambda c: _clear(c, c.execute(query, (room_id,)).fetchall())


def _clear(c: sqlite3.Connection, conversations: Sequence[tuple[int, int]]) -> int:
    turns = 0
    for row in conversations:
        [count, last] = c.execute(
            "SELECT count(*), max(id) FROM turns WHERE conversation_id=? AND id>?", row
        ).fetchone()
        c.execute("UPDATE conversations SET cleared=coalesce(?, cleared) WHERE id=?", (last, row[0]))
        c.execute("DELETE FROM agent_sessions WHERE conversation_id=?", (row[0],))
        turns += int(count)
    return turns


def _add(c: sqlite3.Connection, turn_id: int, step: Step) -> None:
    c.execute("INSERT INTO steps (turn_id, kind, body) VALUES (?, ?, ?)", (turn_id, tag(step), encode(step)))


def _decoded(rows: Sequence[tuple[str, str]]) -> list[Step]:
    """A turn, as far as this release knows its steps; empty where it is forgotten: then its prompt is gone."""
    if not rows or rows[0][0] != PROMPT:
        return []
    return [step for kind, body in rows if not isinstance(step := decode(kind, body), Unknown)]


_MORE = """input_tokens = input_tokens + ?, output_tokens = output_tokens + ?,
           cost = CASE WHEN ? IS NULL THEN cost ELSE coalesce(cost, 0) + ? END,
           cached_tokens = cached_tokens + ?"""


def _spend(c: sqlite3.Connection, turn: Turn, usage: Usage) -> None:
    """Count it for the turn, and in the room's sums."""
    if usage == NO_USAGE:
        return
    spent = (usage.input_tokens, usage.output_tokens, usage.cost, usage.cost, usage.cached_tokens)
    c.execute(f"UPDATE turns SET {_MORE} WHERE id = ?", (*spent, turn.id))  # noqa: S608 — texts of ours
    c.execute(f"UPDATE spending SET {_MORE} WHERE room_id = ?", (*spent, turn.room_id))  # noqa: S608
    tokens_spent.spending(c, turn.room_id, usage)


def _turn(c: sqlite3.Connection, turn_id: int) -> Turn:
    number, conversation, room, thread, sender, event, model, live, started, plans, *usage = c.execute(
        """SELECT turns.id, conversation_id, turns.room_id, iif(thread LIKE '$%', thread, NULL), sender, event_id,
                  model, live, started, plans, input_tokens, output_tokens, cost,
                  cached_tokens
           FROM turns JOIN conversations ON conversation_id = conversations.id WHERE turns.id = ?""",
        (turn_id,),
    ).fetchone()
    return Turn(number, conversation, room, thread, sender, event, model, live, started, Usage(*usage), bool(plans))


def _conversation(c: sqlite3.Connection, turn: Turn, most: int) -> Sequence[Sequence[Step]]:
    """Turn by turn, the newest first: what no model would read any more is not read here."""
    newest = c.execute(
        """SELECT turns.id FROM turns JOIN conversations ON conversation_id = conversations.id
           WHERE conversation_id = ? AND turns.id > cleared AND turns.id <= ? ORDER BY turns.id DESC LIMIT ?""",
        (turn.conversation_id, turn.id, MOST_TURNS),
    )
    turns: list[list[Step]] = []
    for (turn_id,) in newest:
        rows = c.execute("SELECT kind, body FROM steps WHERE turn_id = ? ORDER BY id", (turn_id,)).fetchall()
        if not (steps := _decoded(rows)):  # forgotten, as are those before it
            break
        turns.append(steps)
        most -= sum(max(0, len(body) - FRAME) for _, body in rows)
        if most < 0:
            break
    return turns[::-1]
