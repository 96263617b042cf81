"""The sender: the only way out to Matrix, in order within a room, as fast as the homeserver lets the account."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from roommate import logs
from roommate.domain import RUN_AGAIN, EventId, JsonObject, Outgoing, Rank, RoomId
from roommate.errors import MatrixError, Refused, StateError, Transient
from roommate.host import deadlines
from roommate.matrix.error_mapping import back_off
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.rate_limit import Bucket

IN_FLIGHT = 8
LONGEST_WAIT = 10.0
TYPING_MS = 30_000
TYPING_SECONDS = 5.0
KNOWN_EVENTS = 4096
BACKLOG = 20
"""Rows that wait in one room, from which on it is far behind: what is new elsewhere goes first."""
RANK_SECONDS = 2.5
"""So much longer does a row wait for others of the next rank: no rank is held up by another one for more than 5 s."""
FALLBACK = 500
"""Characters of an edit's text for clients that know no edits: with the new content it must fit into one event."""

_log = logging.getLogger(__name__)


class OutboxStore(Protocol):
    """Where the sender finds what must arrive."""

    async def unsent(self, after: int = 0) -> Sequence[Outgoing]:
        """Rows behind row `after`, in the order in which they were written: none comes before one that was given."""
        ...

    async def event_of(self, row: int) -> EventId | None:
        """The event that a row became; None while it has not arrived. A live message of an earlier process needs it."""
        ...

    async def uploaded(self, row: int, place: JsonObject) -> None:
        """Its file is in the media repository; the content says so with what `place` has."""
        ...

    async def sent(self, row: int, event_id: str) -> None: ...

    async def failed(self, row: int, why: str) -> None:
        """It can never arrive."""
        ...

    async def pace(self) -> float:
        """Seconds between two events that this homeserver let us send in the long run; 0 where no limit was met yet."""
        ...

    async def learned(self, seconds: float) -> None:
        """A 429 taught us the pace."""
        ...


@dataclass(slots=True)
class _Live:
    """A live message that is being worked on; `look` is what it has to show that was not shown yet."""

    room_id: RoomId
    look: Callable[[], Awaitable[JsonObject]] | None = None
    shown_at: float = 0.0
    beat: bool = False
    """It shows nothing new but the time."""


@dataclass(slots=True)
class _Queue:
    """What waits in a room, or is in flight, in order."""

    rows: deque[Outgoing] = field(default_factory=deque)
    ranks: Counter[Rank] = field(default_factory=Counter)
    since: float = field(default_factory=time.monotonic)
    """When it began to wait for its next turn."""

    def add(self, row: Outgoing) -> None:
        self.rows.append(row)
        self.ranks[row.draft.rank] += 1

    def at(self, row: int) -> int | None:
        """Where a row is; None where it is not: its room was withdrawn while it was in flight."""
        return next((index for index, other in enumerate(self.rows) if other.id == row), None)

    def remove(self, row: int) -> None:
        if (at := self.at(row)) is not None:
            self.ranks[self.rows[at].draft.rank] -= 1
            del self.rows[at]

    @property
    def most_urgent(self) -> Rank:
        """Of all its rows: those before it have to go, too."""
        return min(rank for rank, count in self.ranks.items() if count)

    @property
    def behind(self) -> bool:
        """It is far behind: nobody waits for each single row of it any more."""
        return len(self.rows) > BACKLOG


class Sender:
    """Implements `Progress`; `run` sends.

    A room has one request in flight, so that what people see is in order; rooms go at the same time, and where they
    cannot, in turn: who has waited longest is next, and what is more urgent counts as having waited some seconds more.
    However much one room has to say, and of whatever rank, the others have their turns. Rows are sent until they arrive
    or are refused, each with its one transaction id. Progress goes when rows leave room for it. A room that is far
    behind leaves what the homeserver lets us send at once to others.
    Signs (rank SIGN) give way to the rows behind them while the homeserver holds us back, and one that is edited or
    redacted before anything of it was sent is not sent at all.
    """

    def __init__(self, homeserver: Homeserver, log: OutboxStore) -> None:
        self._homeserver = homeserver
        self._outbox = log
        self._bucket = Bucket(0.0, time.monotonic())
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        """A request has come to its end."""
        self._unread = False
        self._queues: dict[RoomId, _Queue] = {}
        """Where something waits or is in flight."""
        self._read_to = 0
        """The newest row that was read."""
        self._tried: set[int] = set()
        """Waiting rows that may have arrived: a request of theirs went out, and no refusal came back."""
        self._events: dict[int, EventId] = {}
        self._live: dict[int, _Live] = {}
        self._busy: set[RoomId] = set()
        self._failures: dict[RoomId, tuple[int, float]] = {}
        """How often in a row a room's request failed, and when to try again."""

    # ── `Progress` ───────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        self._unread = True
        self._news.set()

    def progress(
        self, room_id: RoomId, row: int, look: Callable[[], Awaitable[JsonObject]], *, beat: bool = False
    ) -> None:
        live = self._live.setdefault(row, _Live(room_id))
        if live.look is None or (live.beat and not beat):
            self._news.set()
            live.beat = beat
        live.look = look

    def forget(self, row: int) -> None:
        self._live.pop(row, None)

    async def withdraw(self, room_id: RoomId) -> None:
        self._queues.pop(room_id, None)
        while room_id in self._busy:
            self._ended.clear()
            await self._ended.wait()

    async def typing(self, room_id: RoomId, on: bool) -> None:
        with contextlib.suppress(MatrixError, TimeoutError):
            async with deadlines.within(TYPING_SECONDS):
                await self._homeserver.typing(room_id, on, TYPING_MS)

    # ── The loop ─────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Send for ever. Raises (in a group) TokenRevoked, and whatever the log raises."""
        self._bucket = Bucket(await self._outbox.pace(), time.monotonic())
        await self._read(tried=True)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                if self._unread:
                    self._unread = False
                    await self._read()
                pause = self._start(tasks)
                with contextlib.suppress(TimeoutError):
                    async with deadlines.within(pause):
                        await self._news.wait()

    async def _read(self, tried: bool = False) -> None:
        """Take in new rows; `tried` ones may have been sent by an earlier process."""
        for row in await self._outbox.unsent(self._read_to):
            self._read_to = row.id
            self._queues.setdefault(row.draft.room_id, _Queue()).add(row)
            if row.draft.edits is not None:
                self.forget(row.draft.edits)  # or older progress would be shown over it
            if tried:
                self._tried.add(row.id)
            await self._supersede(row)

    async def _supersede(self, row: Outgoing) -> None:
        """Take out the waiting sign that `row` edits or redacts: nobody has seen it, so nobody needs to see it go. What
        edits it stands in its place, before what was to stand below it."""
        if (target := row.draft.edits or row.draft.redacts) is None:
            return
        rows = self._queues[row.draft.room_id].rows
        sign = next((other for other in rows if other.id == target and other.draft.rank == Rank.SIGN), None)
        if sign is None or sign.id in self._tried:
            return
        if row.draft.edits is not None:
            rows.remove(row)
            rows.insert(rows.index(sign), row)
        for gone in (sign, row) if row.draft.redacts else (sign,):
            self._settle(gone)
            with contextlib.suppress(StateError):  # then the next start finds it out again
                await self._outbox.failed(gone.id, "superseded before it was sent")

    def _settle(self, row: Outgoing) -> None:
        """A row has come to its end."""
        self._tried.discard(row.id)
        if (queue := self._queues.get(row.draft.room_id)) is None:
            return  # it was withdrawn
        queue.remove(row.id)
        if not queue.rows:
            del self._queues[row.draft.room_id]

    def _start(self, tasks: asyncio.TaskGroup) -> float | None:
        """Start every request that may go now. Gives the seconds until the next may; None when only news can tell."""
        now = time.monotonic()
        if self._failures:  # those of rooms where nothing is to be sent any more are forgotten
            wanted = {*self._queues, *(live.room_id for live in self._live.values())}
            self._failures = {room: one for room, one in self._failures.items() if one[1] > now or room in wanted}
        pauses = [again - now for _, again in self._failures.values() if again > now]
        for room_id in sorted((room for room in self._queues if self._is_free(room, now)), key=self._precedence):
            if len(self._busy) >= IN_FLIGHT:
                return None
            row = self._next(room_id, now)
            if row.draft.rank == Rank.SIGN:
                if wait := self._bucket.wait_for_sign(now, self._queues[room_id].since):
                    pauses.append(wait)
                    continue
            elif self._is_behind(room_id):
                if wait := self._bucket.wait_for_backlog(now):
                    pauses.append(wait)
                    continue
            elif wait := self._bucket.wait(now):
                return min([wait, *pauses])
            self._launch(tasks, room_id, now, partial(self._send, row), spare=row.draft.rank == Rank.SIGN)
        for live_row, live in sorted(self._live.items(), key=lambda item: (item[1].beat, item[1].shown_at)):
            if live.look is None or live.room_id in self._queues or not self._is_free(live.room_id, now):
                continue
            if len(self._busy) >= IN_FLIGHT:
                return None
            wait = self._bucket.wait_for_beat(now) if live.beat else self._bucket.wait_to_show(now, live.shown_at)
            if wait:
                pauses.append(wait)
                continue
            self._launch(tasks, live.room_id, now, partial(self._show, live_row, live), spare=True)
        return min(pauses, default=None)

    def _next(self, room_id: RoomId, now: float) -> Outgoing:
        """The room's oldest row; while there is nothing to spare for signs, the oldest that must arrive."""
        queue = self._queues[room_id]
        if self._bucket.wait_for_sign(now, queue.since):
            return next((row for row in queue.rows if row.draft.rank < Rank.SIGN), queue.rows[0])
        return queue.rows[0]

    def _is_free(self, room_id: RoomId, now: float) -> bool:
        return room_id not in self._busy and self._failures.get(room_id, (0, now))[1] <= now

    def _is_behind(self, room_id: RoomId) -> bool:
        return self._queues[room_id].behind

    def _precedence(self, room_id: RoomId) -> tuple[float, int]:
        """A room's place: by how long it has waited since its last turn, and by its most urgent row."""
        queue = self._queues[room_id]
        urgency = Rank.SIGN if queue.behind else queue.most_urgent
        return queue.since + RANK_SECONDS * urgency, queue.rows[0].id

    def _launch(
        self,
        tasks: asyncio.TaskGroup,
        room_id: RoomId,
        now: float,
        request: Callable[[], Awaitable[None]],
        *,
        spare: bool,
    ) -> None:
        self._busy.add(room_id)
        if queue := self._queues.get(room_id):
            queue.since = now
        self._bucket.spend(now, spare=spare)
        tasks.create_task(self._request(room_id, now, request))

    async def _request(self, room_id: RoomId, asked_at: float, request: Callable[[], Awaitable[None]]) -> None:
        """One request of a room, and what its outcome means for the next ones."""
        logs.about(room=room_id)
        try:
            await request()
        except (Transient, StateError) as error:  # what arrived and could not be noted is the same event once more
            await self._postpone(room_id, asked_at, error)
        else:
            self._failures.pop(room_id, None)
            if self._bucket.accepted(time.monotonic()):
                _log.warning("the homeserver does not limit any more what the bot sends")
                await self._learned()
        finally:
            self._busy.discard(room_id)
            self._ended.set()
            self._news.set()

    async def _learned(self) -> None:
        with contextlib.suppress(StateError):  # it is learned again
            await self._outbox.learned(self._bucket.pace)

    async def _postpone(self, room_id: RoomId, asked_at: float, error: Transient | StateError) -> None:
        now = time.monotonic()
        if isinstance(error, Transient) and error.retry_after is not None:
            if self._bucket.refused(asked_at, error.retry_after, now):
                _log.warning(
                    "the homeserver lets the bot send one event every %.1f s: answers wait for that, and live messages "
                    "change seldom; lift its limit for this account",
                    self._bucket.pace,
                )
                await self._learned()
            return
        self._bucket.unanswered()
        failures = self._failures.get(room_id, (0, now))[0] + 1
        self._failures[room_id] = (failures, now + back_off(failures, LONGEST_WAIT))
        _log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s; trying again", error)

    # ── The requests ─────────────────────────────────────────────────────────────────────────────

    async def _send(self, row: Outgoing) -> None:
        self._tried.add(row.id)
        try:
            event = await self._deliver(row)
        except Transient as error:
            if error.retry_after is not None:
                self._tried.discard(row.id)
            raise
        except Refused as error:
            _log.error("%s", error, extra={logs.NOT_SENT_INTO: row.draft.room_id})
            await self._outbox.failed(row.id, str(error))
        else:
            self._events[row.id] = event
            if len(self._events) > KNOWN_EVENTS:
                del self._events[next(iter(self._events))]
            await self._outbox.sent(row.id, event)
            offers = row.draft.rank is Rank.CARD or (row.draft.once or "").startswith(RUN_AGAIN)
            self._unread = self._unread or offers  # what is there to be tapped are rows now
        self._settle(row)

    async def _deliver(self, row: Outgoing) -> EventId:
        draft = row.draft
        if draft.redacts is not None:
            target = row.target or await self._event_of(draft.redacts)
            if target is None:
                raise Refused("what was to be removed never arrived")
            return await self._homeserver.redact(draft.room_id, target, draft.content.get("reason"), row.txn_id)
        content = draft.content
        if draft.state_key is not None:
            try:
                return await self._homeserver.set_state(draft.room_id, draft.event_type, draft.state_key, content)
            except Refused as error:
                if error.errcode != "M_FORBIDDEN":
                    raise
        if draft.upload is not None:
            content = await self._upload(row, draft.upload)
        if draft.edits is not None and (target := row.target or await self._event_of(draft.edits)) is not None:
            try:
                return await self._homeserver.send(draft.room_id, draft.event_type, edited(content, target), row.txn_id)
            except Refused as error:
                if error.errcode != "M_NOT_FOUND":
                    raise
                return await self._homeserver.send(draft.room_id, draft.event_type, content, f"{row.txn_id}-new")
        return await self._homeserver.send(draft.room_id, draft.event_type, content, row.txn_id)

    async def _upload(self, row: Outgoing, upload: bytes) -> JsonObject:
        """Put the row's file into the media repository, once: a repeated row has its address, and no file any more."""
        content = row.draft.content
        kind = content.get("info", {}).get("mimetype", "application/octet-stream")
        name = content.get("filename") or content.get("body") or "file"
        place = await self._homeserver.put_file(row.draft.room_id, upload, kind, name)
        await self._outbox.uploaded(row.id, place)
        content = {**content, **place}
        if (queue := self._queues.get(row.draft.room_id)) and (at := queue.at(row.id)) is not None:
            queue.rows[at] = replace(row, draft=replace(row.draft, content=content, upload=None))
        return content

    async def _show(self, row: int, live: _Live) -> None:
        """Show the newest look of a live message. It is put back when it could not go and no newer one has come."""
        look, live.look, live.shown_at = live.look, None, time.monotonic()
        event = await self._event_of(row)
        if look is None or event is None:
            return  # never arrived: there is nothing to edit
        try:
            content = await look()
        except Exception:  # a look that cannot be drawn must not end the sending for all rooms
            _log.exception("a live message could not be drawn")
            return
        content = edited({**content, "m.mentions": {}}, event)
        try:
            await self._homeserver.send(
                live.room_id, "m.room.message", content, f"roommate-look-{secrets.token_hex(8)}"
            )
        except Refused as error:
            _log.debug("a live message was not shown: %s", error)
        except Transient:
            if live.look is None and self._live.get(row) is live:
                live.look = look
            raise

    async def _event_of(self, row: int) -> EventId | None:
        return self._events.get(row) or await self._outbox.event_of(row)


def edited(content: JsonObject, target: EventId) -> JsonObject:
    """An edit that gives event `target` this content. Who is mentioned at the top is who gets notified.

    https://spec.matrix.org/v1.13/client-server-api/#event-replacements
    """
    notice = content.get("msgtype") == "m.notice"
    return {
        "msgtype": "m.notice" if notice else "m.text",
        "body": f"* {content.get('body', '')}"[:FALLBACK],
        "m.mentions": content.get("m.mentions", {}),
        "m.new_content": {key: value for key, value in content.items() if key != "m.relates_to"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": target},
    }
