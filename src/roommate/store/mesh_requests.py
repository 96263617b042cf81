"""What peers ask of this daemon: a row before anything of it is done, and each reply a part of the transaction that
says how far it is."""

from __future__ import annotations

import enum
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roommate.domain import Deed, Draft, EventId, JsonObject, RoomId, UserId
from roommate.store import audit, outbox
from roommate.store.database import Database, Work
from roommate.store.mesh_events import MeshArrival, taking
from roommate.store.mesh_nonces import Claim


class RequestState(enum.StrEnum):
    """Rows hold these names: none is ever another's."""

    HELD = "held"
    """People decide."""
    ACCEPTED = "accepted"
    """It may run, and nothing of it has."""
    RUNNING = "running"
    """It may have run, from now on."""
    DONE = "done"


OPEN = (RequestState.HELD, RequestState.ACCEPTED, RequestState.RUNNING)


@dataclass(frozen=True, slots=True)
class PeerRequest:
    """One row; `number` is for people, 0 before it is stored."""

    number: int
    peer: str
    """Its public key, base64."""
    id: str
    """As the peer calls it."""
    event_id: EventId
    room_id: RoomId
    sender: UserId
    method: str
    content: JsonObject
    """The signed request."""
    digest: str
    expires: int
    """Ms since 1970."""
    state: RequestState
    outcome: str = ""
    """Of one that is done: ``result``, or the code of a refusal."""
    line: str = ""
    """What of the policy has decided."""
    decided_by: str = ""
    seq: int = 0
    """Of the next reply."""
    chain: str = ""
    message: int | None = None
    """Row of the outbox that shows it to people."""
    card: int | None = None
    result: JsonObject | None = None
    """The last body."""
    came: float = 0.0
    """Seconds since 1970."""
    ended: float | None = None


Answer = Callable[[PeerRequest, JsonObject], tuple[Draft, str]]
"""A body as the next reply to a request: the event that is sent, and the chain at it."""
Show = Callable[[PeerRequest], Draft]
"""What people see of a request as it is now; with ``edits`` where it is shown already."""

_COLUMNS = (
    "id, peer, request, event_id, room_id, sender, method, content, digest, expires, state, outcome, line, "
    "decided_by, seq, chain, message, card, result, came, ended"
)


class NotNew(Exception):
    """A request that was seen before, or of which nobody knows: nothing may come of it."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(claim.name)
        self.claim = claim


class PeerRequests:
    def __init__(self, database: Database, answer: Answer) -> None:
        self._db, self._answer = database, answer

    async def take(
        self,
        arrival: MeshArrival,
        asked: PeerRequest,
        claim: Work[Claim] | None,
        *,
        said: Sequence[JsonObject] = (),
        card: Work[int] | None = None,
        deeds: Sequence[Deed] = (),
    ) -> PeerRequest | None:
        """Store what came, with what is `said` to it and the `card` that asks people, and that it was seen; None where
        it was stored before, or its event is gone: then nothing is done. Raises NotNew, and has done nothing then."""

        def work(c: sqlite3.Connection) -> PeerRequest | None:
            _see(c, claim)
            if not taking(arrival)(c):
                return None
            number = c.execute(
                """INSERT OR IGNORE INTO mesh_requests (peer, request, event_id, room_id, sender, method, content,
                     digest, expires, state, line, chain, came) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   RETURNING id""",
                (
                    asked.peer,
                    asked.id,
                    asked.event_id,
                    asked.room_id,
                    asked.sender,
                    asked.method,
                    json.dumps(asked.content),
                    asked.digest,
                    asked.expires,
                    asked.state,
                    asked.line,
                    asked.digest,
                    asked.came,
                ),
            ).fetchone()
            if number is None:
                return None
            if card is not None:
                put = card(c)
                [message] = c.execute("SELECT outbox_id FROM cards WHERE id=?", (put,)).fetchone()
                c.execute("UPDATE mesh_requests SET card=?, message=? WHERE id=?", (put, message, number[0]))
            row = _get(c, number[0])
            for body in said:
                row, _ = self._say(c, row, body)
            audit.insert(c, deeds)
            return row

        # After a power cut nobody runs what was issued before it: see `Claim.LOST`. What people decide about is kept.
        run = self._db.run if asked.state is RequestState.HELD else self._db.run_unforced
        return await run(work)

    async def answer(
        self, arrival: MeshArrival, drafts: Sequence[Draft], deeds: Sequence[Deed], claim: Work[Claim] | None = None
    ) -> None:
        """Send what is all that comes of it, without a row; nothing where that was done before or its event is gone.
        A daemon that is killed meanwhile has done both or neither: it never answers and then thinks anew. With a
        `claim` it counts as seen from then on, too. Raises NotNew, and has done nothing then."""

        def work(c: sqlite3.Connection) -> None:
            _see(c, claim)
            if taking(arrival)(c):
                outbox.insert(c, drafts)
                audit.insert(c, deeds)

        await self._db.run(work)

    async def move(
        self,
        number: int,
        before: Collection[RequestState],
        after: RequestState,
        *,
        said: Sequence[JsonObject] = (),
        by: str = "",
        show: Show | None = None,
        deeds: Sequence[Deed] = (),
    ) -> PeerRequest | None:
        """It is so far now, and that is `said`; the last of it is its end where it is done. `show` is what people see
        then. None where it was not as `before` says: then nothing is done."""

        def work(c: sqlite3.Connection) -> PeerRequest | None:
            row = _get(c, number)
            if row.state not in before:
                return None
            row = replace(row, state=after, decided_by=by or row.decided_by)
            c.execute("UPDATE mesh_requests SET state=?, decided_by=? WHERE id=?", (after, row.decided_by, number))
            for body in said:
                row, _ = self._say(c, row, body)
            if after is RequestState.DONE:
                last = said[-1]
                row = replace(row, outcome=str(last.get("code", last["kind"])), result=last, ended=time.time())
                c.execute(
                    "UPDATE mesh_requests SET outcome=?, result=?, ended=? WHERE id=?",
                    (row.outcome, json.dumps(last), row.ended, number),
                )
            if show is not None:
                row = _show(c, row, show)
            audit.insert(c, deeds)
            return row

        # Where a power cut takes the end of what has run, `unknown` follows it: the asker keeps what it heard first. Of
        # an end in several pieces it may have heard one only: those are forced.
        ran = after is RequestState.DONE and set(before) == {RequestState.RUNNING}
        return await (self._db.run_unforced if ran and len(said) == 1 else self._db.run)(work)

    async def say(self, number: int, body: JsonObject) -> int | None:
        """A reply while it runs; gives its row of the outbox, None where it does not run."""

        def work(c: sqlite3.Connection) -> int | None:
            row = _get(c, number)
            return self._say(c, row, body)[1] if row.state is RequestState.RUNNING else None

        return await self._db.run(work)

    async def show(self, number: int, show: Show) -> PeerRequest:
        """Put up what people see of it, where it is not shown."""

        def work(c: sqlite3.Connection) -> PeerRequest:
            row = _get(c, number)
            return row if row.message is not None else _show(c, row, show)

        return await self._db.run(work)

    async def get(self, number: int) -> PeerRequest | None:
        return await self._one("id=?", number)

    async def of_peer(self, peer: str, request: str) -> PeerRequest | None:
        return await self._one("peer=? AND request=?", peer, request)

    async def of_event(self, room_id: RoomId, event_id: str) -> PeerRequest | None:
        return await self._one("room_id=? AND event_id=?", room_id, event_id)

    async def of_card(self, card: int) -> PeerRequest | None:
        return await self._one("card=?", card)

    async def open(self) -> Sequence[PeerRequest]:
        """Those that are not done, oldest first."""
        query = f"SELECT {_COLUMNS} FROM mesh_requests WHERE state != 'done' ORDER BY id"  # noqa: S608 — names of ours
        return [_row(*row) for row in await self._db.rows(query)]

    async def newest(self, most: int, room_id: RoomId | None = None) -> Sequence[PeerRequest]:
        query = f"""SELECT {_COLUMNS} FROM mesh_requests WHERE ?1 IS NULL OR room_id=?1
                    ORDER BY id DESC LIMIT ?2"""  # noqa: S608
        return [_row(*row) for row in await self._db.rows(query, room_id, most)]

    async def forget(self, before: float) -> None:
        """Those that ended before that time, in seconds since 1970."""
        await self._db.run(lambda c: c.execute("DELETE FROM mesh_requests WHERE ended < ?", (before,)))

    async def _one(self, where: str, *values: object) -> PeerRequest | None:
        query = f"SELECT {_COLUMNS} FROM mesh_requests WHERE {where}"  # noqa: S608 — texts of ours
        row = await self._db.row(query, *values)
        return _row(*row) if row else None

    def _say(self, c: sqlite3.Connection, row: PeerRequest, body: JsonObject) -> tuple[PeerRequest, int]:
        draft, chain = self._answer(row, body)
        [put] = outbox.insert(c, [replace(draft, once=f"mesh:{row.number}:{row.seq}")])
        c.execute("UPDATE mesh_requests SET seq=?, chain=? WHERE id=?", (row.seq + 1, chain, row.number))
        return replace(row, seq=row.seq + 1, chain=chain), put


def _see(c: sqlite3.Connection, claim: Work[Claim] | None) -> None:
    if claim is not None and (counts := claim(c)) is not Claim.NEW:
        raise NotNew(counts)


def _show(c: sqlite3.Connection, row: PeerRequest, show: Show) -> PeerRequest:
    [put] = outbox.insert(c, [show(row)])
    if row.message is not None:
        return row
    c.execute("UPDATE mesh_requests SET message=? WHERE id=?", (put, row.number))
    return replace(row, message=put)


def _get(c: sqlite3.Connection, number: int) -> PeerRequest:
    return _row(*c.execute(f"SELECT {_COLUMNS} FROM mesh_requests WHERE id=?", (number,)).fetchone())  # noqa: S608


def _row(*row: Any) -> PeerRequest:
    number, peer, request, event, room, sender, method, content, digest, expires, state, *rest = row
    outcome, line, by, seq, chain, message, card, result, came, ended = rest
    return PeerRequest(
        number=number,
        peer=peer,
        id=request,
        event_id=event,
        room_id=room,
        sender=sender,
        method=method,
        content=json.loads(content),
        digest=digest,
        expires=expires,
        state=RequestState(state),
        outcome=outcome,
        line=line,
        decided_by=by,
        seq=seq,
        chain=chain,
        message=message,
        card=card,
        result=json.loads(result) if result else None,
        came=came,
        ended=ended,
    )
