"""Intake: one sync after the other becomes one batch each, stored whole with its token before anybody acts on it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from roommate import logs
from roommate.domain import (
    MESH_INTRODUCTION,
    EventId,
    Incoming,
    JsonObject,
    Message,
    Redaction,
    RoomId,
    RoomState,
    SyncBatch,
    Unreadable,
    UserId,
)
from roommate.errors import Refused, StateError, Transient
from roommate.matrix import parse
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.crypto.reading import Reading, Unread
from roommate.matrix.crypto.verifications import is_of_verification
from roommate.matrix.error_mapping import back_off
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.parse import items, obj

LONG_POLL_MS = 30_000
HURRY_MS = 3_000
"""How long a sync waits while somebody is about to be told that their message cannot be read."""
CATCHES_UP = 10
"""Syncs after which it is taken to have caught up, though each of them tells of something."""
LONGEST_WAIT = 10.0
SHORTEST_POLL = 0.5
HEAD_START = 0.004
"""Seconds that whoever deals with what came has before the next sync is asked for: a homeserver on the same host would
wake up at once, and take the processor from them."""
PAGE = 250
GAP_PAGES = 80
"""How far a gap is filled: 20 000 events of one room. Older ones are given up, with a line in the log."""
ARRIVAL_PAGES = 8

_log = logging.getLogger(__name__)


class SyncStore(Protocol):
    """Where intake keeps what it read."""

    async def since(self) -> str | None: ...

    async def joined_rooms(self) -> Mapping[RoomId, int]:
        """With how many members, the bot included; 0 where that is not known."""
        ...

    async def commit(self, batch: SyncBatch) -> None:
        """Everything of the batch and its token, in one transaction; happenings already known are passed over."""
        ...

    async def replaces(self, room_id: RoomId) -> bool:
        """Does this room replace one that the bot was in, so that it joined by itself?"""
        ...


class Intake:
    """Reads what happens in all rooms and stores it; runs nothing of it.

    Without a token (the very first sync) what was said before is passed over; rooms and invitations count. `stored`
    is called after each commit. A crash at any place repeats nothing and loses nothing: the log's token is the only
    memory, and the log passes over what it knows. Encrypted events are stored as they were meant; what a sync brings
    for `encryption` is remembered there before the token is stored here.
    """

    def __init__(
        self,
        homeserver: Homeserver,
        log: SyncStore,
        stored: Callable[[SyncBatch], None],
        encryption: Encryption | None = None,
    ) -> None:
        self._homeserver = homeserver
        self._encryption = encryption
        self._unread: list[tuple[RoomId, JsonObject]] = []
        """Of the sync that is being read: events whose key is not there."""
        self._verifying: list[tuple[RoomId, JsonObject]] = []
        """Of the sync that is being read: events of verifications."""
        self._syncs = log
        self._stored = stored
        self._synced_at: float | None = None
        self._stirred_at: float | None = None
        self._counted: set[RoomId] = set()
        """Rooms whose members we count ourselves."""
        self.ready = asyncio.Event()
        """Set once what happened before this process is stored, as far as syncs tell of it at once."""

    @property
    def silent_seconds(self) -> float | None:
        """Seconds since the homeserver last answered a sync; None before the first. Healthy is below a minute."""
        return None if self._synced_at is None else time.monotonic() - self._synced_at

    @property
    def stalled_seconds(self) -> float:
        """Seconds since it last did anything, were it only to fail; 0 before it runs. The homeserver's absence is not
        seen in it."""
        return 0.0 if self._stirred_at is None else time.monotonic() - self._stirred_at

    async def run(self) -> None:
        """Sync for ever. Raises TokenRevoked; everything else is waited out."""
        since = await self._syncs.since()
        joined = dict(await self._syncs.joined_rooms())
        failures, rounds = 0, int(since is None)  # the very first sync is of no older copy
        while True:
            # Until it has caught up, and after a failure, it is not to wait until somebody writes.
            patience = self._patience() if self.ready.is_set() and not failures else 0
            asked_at = self._stirred_at = time.monotonic()
            try:
                answer = await self._homeserver.sync(since, patience)
                batch, overdue = await self._take(answer, since, joined)
            except (Transient, Refused, StateError) as error:  # a full disk (StateError) may have room later
                failures += 1
                seconds = max(back_off(failures, LONGEST_WAIT), getattr(error, "retry_after", None) or 0.0)
                _log.warning("%s; trying again in %.1f s", error, seconds)
                self._stirred_at = time.monotonic()  # and no later: who waits too long is taken for stuck
                await asyncio.sleep(seconds)
                continue
            if failures:
                _log.warning("the homeserver syncs again after %d failures", failures)
            failures, self._synced_at = 0, time.monotonic()
            if batch.next_batch != since or batch.happened:
                since = batch.next_batch
                for room in batch.rooms:
                    known = joined.pop(room.room_id, 0)
                    if room.membership == "join":
                        joined[room.room_id] = known if room.joined is None else room.joined
                self._stored(batch)
            elif patience and time.monotonic() - asked_at < SHORTEST_POLL:
                await asyncio.sleep(SHORTEST_POLL)  # something answers at once instead of waiting for news
            # Synapse keeps answers for two minutes, so that a database which was put back may get one that tells less.
            rounds += 1
            if (rounds > 1 and not batch.happened) or rounds >= CATCHES_UP:
                self.ready.set()
            if self._encryption is not None:
                await self._encryption.look_after(overdue)
            if batch.happened:
                await asyncio.sleep(HEAD_START)

    @property
    def _reading(self) -> Reading | None:
        """What decrypts, where that is possible."""
        return self._encryption.reading if self._encryption is not None and self._encryption.works else None

    def _patience(self) -> int:
        return HURRY_MS if self._reading is not None and self._reading.hurry else LONG_POLL_MS

    async def _take(
        self, answer: JsonObject, since: str | None, joined: Mapping[RoomId, int]
    ) -> tuple[SyncBatch, list[Unread]]:
        """Store a sync; gives what was stored, and the events of which rooms are told now that they cannot be read.

        With encryption in this order: keys, events without a key, then the log with the token, then what waited and is
        in the log now. See docs/decisions/012-encryption-remembers-by-itself.md.
        """
        self._homeserver.members.learn(answer)
        if self._encryption is not None:
            await self._encryption.reading.rooms(answer)
        if (encryption := self._encryption) is None or (reading := self._reading) is None:
            batch = replace(await self._read(answer, since, joined), comes_again=True)
            if batch.next_batch != since:
                await self._syncs.commit(batch)
            return batch, []
        await reading.receive(answer, first=since is None)
        self._unread, self._verifying = [], []
        batch = await self._read(answer, since, joined)
        removed = [(one.room_id, one.what.target) for one in batch.happened if isinstance(one.what, Redaction)]
        await reading.wait(self._unread, removed)
        overdue, late = await encryption.overdue(), await reading.late()
        came = {event["event_id"] for _, event in late}
        overdue = [one for one in overdue if one.event["event_id"] not in came]
        verifications = encryption.verifications
        self._verifying += [(room, event) for room, event in late if is_of_verification(event)]
        heard = await verifications.note(answer, self._verifying)
        read_late = [_late(found) for room, event in late if (found := self._understood(room, event))]
        batch = replace(
            batch,
            happened=(*read_late, *batch.happened, *map(_unreadable, overdue)),
            comes_again=not late and not overdue,
        )
        if batch.next_batch != since or batch.happened:
            await self._syncs.commit(batch)
        verifications.take(heard)
        await reading.settled(late, overdue)
        return batch, overdue

    async def _read(self, answer: JsonObject, since: str | None, joined: Mapping[RoomId, int]) -> SyncBatch:
        """What a sync says, in our words. `joined` are the rooms the bot is known to be in, with how many members."""
        me = self._homeserver.me
        sections = obj(answer.get("rooms"))
        rooms: list[RoomState] = []
        happened: list[Incoming] = []
        for room_id, section in _rooms(sections.get("invite")):
            events = items(obj(section.get("invite_state")).get("events"))
            rooms.append(parse.room_state(room_id, "invite", events))
            if invite := parse.invite(room_id, events, me, _name("invite", room_id, since)):
                happened.append(invite)
        for room_id, section in _rooms(sections.get("leave")):
            rooms.append(RoomState(room_id, "leave"))
            if room_id in joined:
                events = _state(section) + _timeline(section)
                happened.append(parse.gone(room_id, events, me, _name("gone", room_id, since)))
        for room_id, section in _rooms(sections.get("join")):
            events = await self._deciphered(room_id, _timeline(section))
            section = {**section, "timeline": {**obj(section.get("timeline")), "events": events}}
            state = parse.room_state(room_id, "join", _state(section) + events, section.get("summary"))
            if state.joined is None:
                state = replace(state, joined=await self._count(room_id, section, joined.get(room_id, 0)))
            # Who has said here who they are, when we come later than that.
            here = filter(_is_introduction, _state(section) + _timeline(section))
            happened += self._parsed(room_id, here)
            if since is None:
                rooms.append(state)
            elif room_id not in joined:
                rooms.append(state)
                whole = await self._syncs.replaces(room_id)
                stay = await self._since_invited(room_id, section, whole=whole)
                if not any(parse.is_own_message(event, me) for event in stay):  # else it was in before `since` was new
                    happened.append(parse.arrived(room_id, events, me, _name("arrived", room_id, since)))
                happened += self._parsed(room_id, stay)
            else:
                if state != RoomState(room_id, "join"):
                    rooms.append(state)
                with logs.about(room=room_id):
                    happened += await self._missed(room_id, section, since)
                happened += self._parsed(room_id, events)
        return SyncBatch(str(answer["next_batch"]), tuple(rooms), tuple(happened))

    async def _count(self, room_id: RoomId, section: JsonObject, known: int) -> int | None:
        """The members of a room of which the sync's summary says nothing; None for as many as before.

        That is what a homeserver does where nothing has changed, and some do always: those are asked, once for a room
        and again after a gap, and in between the events tell. `known` is 0 where the number is not known.
        """
        changed = any(map(parse.membership, _timeline(section)))
        gap = _gap_starts_at(section) is not None
        doubtful = gap and (room_id in self._counted or any(map(parse.membership, _state(section))))
        if known and not changed and not doubtful:
            return None
        try:
            members = await self._homeserver.members.of(room_id)
        except Refused as error:
            _log.warning("how many are in %s is not known: %s", room_id, error)
            return None
        self._counted.add(room_id)
        return len(members)

    def _parsed(self, room_id: RoomId, events: Iterable[object]) -> list[Incoming]:
        found = []
        for event in events:
            if self._reading is not None and parse.is_encrypted(event):
                self._unread.append((room_id, obj(event)))
            elif self._reading is not None and is_of_verification(obj(event)):
                self._verifying.append((room_id, obj(event)))
            elif incoming := self._understood(room_id, event):
                found.append(incoming)
        return found

    def _understood(self, room_id: RoomId, event: object) -> Incoming | None:
        """None where it means nothing to us. It is not for one event that nobody thought of to end the daemon, and each
        further one that is given the same sync again."""
        try:
            return parse.incoming(room_id, event, self._homeserver.me)
        except Exception:
            _log.exception("an event in %s is passed over", room_id)
            return None

    async def _deciphered(self, room_id: RoomId, events: list[Any]) -> list[Any]:
        return events if self._reading is None else await self._reading.read(room_id, events)

    async def _missed(self, room_id: RoomId, section: JsonObject, since: str) -> list[Incoming]:
        """What happened between the last sync and the start of this one's timeline, oldest first.

        Kept parsed, page by page. A homeserver that refuses its history (it was purged, or hidden from the bot) cannot
        be asked for ever: then there is a gap, with a line in the log.
        """
        pages: list[list[Incoming]] = []
        before = _gap_starts_at(section)
        while before is not None:
            if len(pages) == GAP_PAGES:
                _log.error("more than %d events while away; older ones are not answered", PAGE * GAP_PAGES)
                break
            try:
                page, further = await self._page(room_id, before, since)
            except Refused as error:
                _log.error("what was said while away is not answered: %s", error)
                break
            pages.append(self._parsed(room_id, reversed(page)))
            before = further if further != before else None
        return [incoming for page in reversed(pages) for incoming in page]

    async def _since_invited(self, room_id: RoomId, section: JsonObject, *, whole: bool) -> list[Any]:
        """The events of a new room since the bot was invited, or joined uninvited: who invites and writes at once is
        answered, older talk is not. The `whole` of it counts where it replaces a room that the bot was in."""
        events, before = _timeline(section), _gap_starts_at(section)
        start = None if whole else _start_of_stay(events, self._homeserver.me)
        for _ in range(ARRIVAL_PAGES):
            if start is not None or before is None:
                break
            try:
                page, further = await self._page(room_id, before, None)
            except Refused:
                break
            events = page[::-1] + events
            before = further if further != before else None
            start = None if whole else _start_of_stay(events, self._homeserver.me)
        if whole:
            return events
        if start is None:  # its start is beyond what we read; whatever is older than the join never counts
            joins = (i for i, event in enumerate(events) if parse.own_membership(event, self._homeserver.me) == "join")
            start = max(joins, default=-1) + 1
        return events[start:]

    async def _page(self, room_id: RoomId, start: str, end: str | None) -> tuple[list[Any], str | None]:
        self._stirred_at = time.monotonic()
        events, further = await self._homeserver.messages(room_id, start, end, PAGE)
        return await self._deciphered(room_id, events), further


def _start_of_stay(events: list[Any], me: parse.Me) -> int | None:
    """Index of the first event that counts; None when it may be before all of `events`, which are oldest first."""
    joined = False
    for index in reversed(range(len(events))):
        membership = parse.own_membership(events[index], me)
        if membership == "invite":
            return index + 1
        if membership == "join" and not joined:
            joined = True
            if not parse.was_invited(events[index]):
                return index + 1
    return None


def _is_introduction(event: object) -> bool:
    return obj(event).get("type") == MESH_INTRODUCTION and "state_key" in obj(event)


def _gap_starts_at(section: JsonObject) -> str | None:
    timeline = obj(section.get("timeline"))
    return parse.text(timeline.get("prev_batch")) if timeline.get("limited") is True else None


def _timeline(section: JsonObject) -> list[Any]:
    return items(obj(section.get("timeline")).get("events"))


def _state(section: JsonObject) -> list[Any]:
    return items(obj(section.get("state")).get("events"))


def _rooms(section: object) -> Iterable[tuple[RoomId, JsonObject]]:
    return ((RoomId(room_id), obj(room)) for room_id, room in obj(section).items() if room_id.startswith("!"))


def _late(incoming: Incoming) -> Incoming:
    """What is read when others have spoken since."""
    what = incoming.what
    return replace(incoming, what=replace(what, late=True)) if isinstance(what, Message) else incoming


def _unreadable(unread: Unread) -> Incoming:
    """What a room hears of an event without its key: once for each session, and no more of the next ones."""
    name = hashlib.sha256(f"{unread.room_id} {unread.session_id}".encode()).hexdigest()[:32]
    event = unread.event
    at = parse.milliseconds(event.get("origin_server_ts"))
    return Incoming(
        EventId(f"$roommate-unreadable-{name}"),
        unread.room_id,
        UserId(event["sender"]),
        at,
        Unreadable(key_missing=True),
    )


def _name(what: str, room_id: RoomId, since: str | None) -> str:
    """An id for what the homeserver gives none: the same when the same sync is read again."""
    return f"$roommate-{what}-{hashlib.sha256(f'{room_id} {since}'.encode()).hexdigest()[:32]}"
