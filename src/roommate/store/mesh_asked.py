"""What this daemon asks of peers: a row before it is sent, and every verified piece of the reply, until it is old."""

from __future__ import annotations

import base64
import enum
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from roommate.domain import Deed, Draft, JsonObject, RoomId, UserId
from roommate.store import audit, outbox
from roommate.store.database import Database, Work

KEPT_SECONDS = 7 * 86_400.0
"""How long what was answered can be read again."""
MOST_KEPT = 64 << 20
"""Bytes of a reply, as JSON. A peer that says more in events, and not in files, is not listened to any further."""
FEW = 64
"""Pieces of a reply."""
LOST = "lost"
"""The `kind` of a result that no peer gave: why there is none."""


class AskedState(enum.StrEnum):
    """Rows hold these names."""

    SENT = "sent"
    HELD = "held"
    """People there are asked first."""
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Asked:
    """Times are seconds since 1970."""

    id: str
    """The request's ULID."""
    room_id: RoomId
    peer: str
    """Its public key."""
    peer_user: UserId
    peer_name: str
    origin: str
    """Our own key, which signed it."""
    method: str
    params: JsonObject
    digest: str
    who: str
    """On whose behalf, for people."""
    subject: str
    """What it was asked for, such as the call of a turn; '' where nobody looks for it again."""
    shown: bool
    """The room gets a message of it."""
    chain: str
    seconds: float
    """How long it may run there."""
    until: float
    """When nobody waits for an answer any longer."""
    asked: float
    state: AskedState = AskedState.SENT
    seq: int = 0
    sent_seq: int = 0
    """Of the next input."""
    sent_chain: str = ""
    row: int = 0
    """Of the outbox: the request."""
    message: int | None = None
    """Of the outbox: what shows it to people."""
    result: JsonObject | None = None
    """The last body of the reply, or one that is LOST."""
    ended: float | None = None

    @property
    def is_over(self) -> bool:
        return self.state is AskedState.DONE


@dataclass(frozen=True, slots=True)
class Heard:
    """What one piece came to: how far the reply is known now, and what that says of the request."""

    seq: int
    chain: str
    state: AskedState
    until: float
    result: JsonObject | None = None


Take = Callable[[Asked, Mapping[int, tuple[str, JsonObject]]], Heard]
"""Gives what follows from the pieces from the next one on, by number: each a chain and a body."""
Draw = Callable[[Asked, bytes], JsonObject]
"""What people see of a request that has ended, given the end of what it printed."""

_COLUMNS = (
    "id, room_id, peer, peer_user, peer_name, origin, method, params, digest, who, subject, shown, chain, seconds, "
    "until, asked, state, seq, sent_seq, sent_chain, row, message, result, ended"
)
_TAIL = 12
"""Pieces of output of which people see the end."""


class AskedRequests:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, asked: Asked, draft: Draft, deeds: Sequence[Deed] = ()) -> Asked:
        """Write it down, the event that asks, and who does so; gives it as it is stored. One of a subject that is known
        is given as it was, and nothing is sent."""

        def work(c: sqlite3.Connection) -> Asked:
            if asked.subject and (before := _find(c, "subject=?", asked.subject)):
                return before
            [row] = outbox.insert(c, [draft])
            added = replace(asked, row=row)
            values = _values(added)
            c.execute(f"INSERT INTO mesh_asked ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
            audit.insert(c, deeds)
            return added

        # Who asks at the command line is gone after a power cut; a turn goes on, and would ask again.
        return await (self._db.run if asked.subject else self._db.run_unforced)(work)

    async def get(self, id: str) -> Asked | None:
        return await self._db.look(lambda c: _find(c, "id=?", id))

    async def open(self) -> Sequence[Asked]:
        """Those that are waited for."""
        return await self._db.look(lambda c: _all(c, "state != 'done' ORDER BY asked"))

    async def newest(self, most: int) -> Sequence[Asked]:
        return await self._db.look(lambda c: _all(c, "1 ORDER BY asked DESC LIMIT ?", most))

    async def called(self, part: str) -> Sequence[Asked]:
        """Those whose id begins or ends so."""
        where = "substr(id, 1, length(?1)) = ?1 OR substr(id, -length(?1)) = ?1"
        return await self._db.look(lambda c: _all(c, where, part.upper()))

    async def soonest(self) -> float | None:
        """When the next one is given up."""
        return (await self._db.row("SELECT min(until) FROM mesh_asked WHERE state != 'done'"))[0]  # type: ignore[no-any-return]

    async def read(self, id: str, since: int, most: int = 64) -> tuple[Asked | None, Sequence[JsonObject]]:
        """It as it is now, and bodies of the reply in order, from number `since` on, as far as it is known without a
        gap."""

        def work(c: sqlite3.Connection) -> tuple[Asked | None, list[str]]:
            rows = c.execute(
                """SELECT body FROM mesh_answers JOIN mesh_asked ON mesh_asked.id = request
                   WHERE request=? AND mesh_answers.seq >= ? AND mesh_answers.seq < mesh_asked.seq
                   ORDER BY mesh_answers.seq LIMIT ?""",
                (id, since, most),
            )
            return _find(c, "id=?", id), [body for (body,) in rows]

        asked, bodies = await self._db.look(work)
        return asked, [json.loads(body) for body in bodies]

    async def hear(
        self, id: str, seq: int, piece: tuple[str, JsonObject], take: Take, draw: Draw, also: Work[object]
    ) -> Asked | None:
        """A verified piece of a reply; gives the request as it is now, None where this changes nothing. `also` is done
        in any case."""

        def work(c: sqlite3.Connection) -> Asked | None:
            also(c)
            asked = _find(c, "id=? AND state != 'done'", id)
            if asked is None or seq < asked.seq:
                return None
            chain, body = piece
            text = json.dumps(body, separators=(",", ":"))
            [kept] = c.execute("SELECT coalesce(sum(length(body)), 0) FROM mesh_answers WHERE request=?", (id,))
            if kept[0] + len(text) > MOST_KEPT:
                return _end(c, asked, {"kind": LOST, "message": "the peer says more than I keep of a reply"}, draw)
            c.execute("INSERT OR IGNORE INTO mesh_answers (request, seq, chain, body) VALUES (?, ?, ?, ?)",
                      (id, seq, chain, text))  # fmt: skip
            if seq > asked.seq:
                return None
            there = c.execute("SELECT seq, chain, body FROM mesh_answers WHERE request=? AND seq >= ?", (id, asked.seq))
            heard = take(asked, {number: (link, json.loads(said)) for number, link, said in there})
            now = replace(asked, seq=heard.seq, chain=heard.chain, state=heard.state, until=heard.until)
            if heard.result is not None:
                return _end(c, now, heard.result, draw)
            _keep(c, now)
            return now if heard.seq > asked.seq else None

        # Lost together with the token of its sync: it comes again. All that is kept of a reply is measured.
        [newest] = await self._db.row("SELECT coalesce(max(seq), 0) FROM mesh_answers WHERE request=?", id)
        return await self._db.run_unforced(work, few=max(seq, newest) < FEW)

    async def end(self, id: str, result: JsonObject, draw: Draw) -> Asked | None:
        """Nobody waits for it any longer; None where it was over before."""

        def work(c: sqlite3.Connection) -> Asked | None:
            asked = _find(c, "id=? AND state != 'done'", id)
            return _end(c, asked, result, draw) if asked else None

        return await self._db.run(work)

    async def say(self, id: str, make: Callable[[Asked], tuple[Draft, str]], until: float | None = None) -> int | None:
        """Send input, made for the request as it stands, with its chain; gives its row of the outbox, None where it is
        over. With `until` an answer is waited for no longer than that."""

        def work(c: sqlite3.Connection) -> int | None:
            if (asked := _find(c, "id=? AND state != 'done'", id)) is None:
                return None
            draft, chain = make(asked)
            [row] = outbox.insert(c, [draft])
            ends = asked.until if until is None else min(asked.until, until)
            _keep(c, replace(asked, sent_seq=asked.sent_seq + 1, sent_chain=chain, until=ends))
            return row

        return await self._db.run(work)

    async def show(self, id: str, draft: Draft) -> int | None:
        """Put up what people see of it while it goes on, once; gives its row of the outbox, None where it is over."""

        def work(c: sqlite3.Connection) -> int | None:
            asked = _find(c, "id=? AND state != 'done'", id)
            if asked is None or asked.message is not None:
                return asked.message if asked else None
            [row] = outbox.insert(c, [draft])
            _keep(c, replace(asked, message=row))
            return row

        return await self._db.run(work)

    async def tail(self, id: str) -> bytes:
        """The end of what it has printed."""
        return await self._db.look(lambda c: _tail(c, id))

    async def forget(self, before: float) -> None:
        """What ended before that."""

        def work(c: sqlite3.Connection) -> None:
            c.execute(
                "DELETE FROM mesh_answers WHERE request IN (SELECT id FROM mesh_asked WHERE ended < ?)", (before,)
            )
            c.execute("DELETE FROM mesh_asked WHERE ended < ?", (before,))

        await self._db.run(work)


def printed(bodies: Iterable[JsonObject]) -> bytes:
    """What pieces of a reply have of output."""
    return b"".join(_decoded(body.get("data")) for body in bodies if body["kind"] == "output")


def _end(c: sqlite3.Connection, asked: Asked, result: JsonObject, draw: Draw) -> Asked:
    """It is over: in the same transaction people are told."""
    over = replace(asked, state=AskedState.DONE, result=result, ended=time.time())
    _keep(c, over)
    if over.shown:
        content = draw(over, _tail(c, over.id))
        name = f"asked:{over.id}"
        outbox.insert(c, [Draft(over.room_id, content, edits=over.message, once=name, everywhere=name)])
    return over


def _tail(c: sqlite3.Connection, id: str) -> bytes:
    rows = c.execute(
        """SELECT body FROM mesh_answers WHERE request=? AND seq < (SELECT seq FROM mesh_asked WHERE id=?)
           ORDER BY seq DESC LIMIT ?""",
        (id, id, _TAIL),
    )
    return printed(reversed([json.loads(body) for (body,) in rows]))


def _keep(c: sqlite3.Connection, asked: Asked) -> None:
    c.execute(
        """UPDATE mesh_asked SET state=?, seq=?, chain=?, until=?, sent_seq=?, sent_chain=?, message=?, result=?,
             ended=? WHERE id=?""",
        (
            *(asked.state, asked.seq, asked.chain, asked.until, asked.sent_seq, asked.sent_chain, asked.message),
            *(json.dumps(asked.result) if asked.result is not None else None, asked.ended, asked.id),
        ),
    )


def _values(asked: Asked) -> tuple[object, ...]:
    return (
        *(asked.id, asked.room_id, asked.peer, asked.peer_user, asked.peer_name, asked.origin, asked.method),
        *(json.dumps(asked.params), asked.digest, asked.who, asked.subject, asked.shown, asked.chain),
        *(asked.seconds, asked.until, asked.asked, asked.state, asked.seq, asked.sent_seq, asked.sent_chain),
        *(asked.row, asked.message, None, asked.ended),
    )


def _find(c: sqlite3.Connection, where: str, *values: object) -> Asked | None:
    return next(iter(_all(c, where, *values)), None)


def _all(c: sqlite3.Connection, where: str, *values: object) -> Sequence[Asked]:
    rows = c.execute(f"SELECT {_COLUMNS} FROM mesh_asked WHERE {where}", values)  # noqa: S608 — texts of ours
    return [
        Asked(
            id=id, room_id=RoomId(room), peer=peer, peer_user=UserId(user), peer_name=name, origin=origin,
            method=method, params=json.loads(params), digest=digest, who=who, subject=subject, shown=bool(shown),
            chain=chain, seconds=seconds, until=until, asked=asked, state=AskedState(state), seq=seq, sent_seq=sent_seq,
            sent_chain=sent_chain, row=row, message=message, result=json.loads(result) if result else None, ended=ended,
        )
        for (id, room, peer, user, name, origin, method, params, digest, who, subject, shown, chain, seconds, until,
             asked, state, seq, sent_seq, sent_chain, row, message, result, ended) in rows
    ]  # fmt: skip


def _decoded(data: object) -> bytes:
    """A peer may say anything."""
    try:
        return base64.b64decode(data) if isinstance(data, str) else b""
    except ValueError:
        return b""
