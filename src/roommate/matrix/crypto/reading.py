"""Events in: what a sync brings for encryption takes effect before its token is stored, and rooms' events are read."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import MESH_INPUT, MESH_REPLY, MESH_REQUEST, EventId, JsonObject, RoomId, UserId
from roommate.matrix.crypto import device_lists, incoming_room_keys, megolm, strangers
from roommate.matrix.crypto.key_upload import KeyUpload
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import LEFT, ROOM, WAITING, WITHHELD, Records, Vault, key, load, save
from roommate.matrix.crypto.sealing import Sealing
from roommate.matrix.parse import items, obj
from roommate.matrix.room_members import state_and_timeline

GRACE_SECONDS = 10.0
"""How long a key may take after its event before somebody is told: it goes another way."""
KEPT_SECONDS = 14 * 86400.0
"""How long an event waits for its key."""
OF_DAEMONS = frozenset({MESH_REQUEST, MESH_REPLY, MESH_INPUT})
"""What daemons say to each other counts encrypted alone in an encrypted room: none of them is a client that cannot."""
OF_PEOPLE = "m.room.message"
MOST_WAITING = 200
"""Events of a room that wait for their keys, its newest: each sync looks at all of them, and whoever is in a room can
send what nobody has a key for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unread:
    """An event that waits for its key."""

    room_id: RoomId
    event: JsonObject
    since: float
    """When it came, in seconds since 1970."""
    withheld: str = ""
    """Its sender's device says that we do not get it: a code of the specification."""

    @property
    def session_id(self) -> str:
        return str(obj(self.event.get("content")).get("session_id", ""))


class Reading:
    """The order is the promise. `receive` and `wait` are on the disk before the sync's token is: who is killed in
    between is given the same sync again, which changes nothing a second time. What `late` gives is dropped by
    `settled`, after the token: who is killed in between gives it again, and the inbox passes over what it has."""

    def __init__(self, vault: Vault, user: UserId, keys: KeyUpload, sealing: Sealing, *, required: bool) -> None:
        """`required`: what is written without encryption is passed over, of daemons and people, in any room."""
        self._vault, self._user, self._keys, self._sealing = vault, user, keys, sealing
        self._required = required
        self._came = 1
        """How often keys came; the first time is before this process."""
        self._looking = self._looked = 0
        """Which of those times it was looked for events that can be read now, and what came of it is stored."""
        self._told: set[str] = set()
        """Sessions of events that wait, of which the rooms were told in this process."""
        self.hurry = False
        """An event waits for its key of which nobody was told yet."""
        self._has_twin = False
        """Another process is the same device. It was said."""
        self.undecrypted = 0
        """Events that came without their key, for who counts."""
        self.withheld = 0
        """Keys that their senders do not give us."""

    async def rooms(self, answer: JsonObject) -> None:
        """What a sync tells of which rooms are encrypted. Raises StateError."""
        encrypted: dict[RoomId, JsonObject] = {}
        rooms = obj(answer.get("rooms"))
        for room_id, section in obj(rooms.get("join")).items():
            happened = state_and_timeline(obj(section))
            encrypted |= {RoomId(room_id): said for event in happened if (said := _encryption(obj(event))) is not None}
        left = [RoomId(room_id) for room_id in obj(rooms.get("leave"))]

        def work(r: Records) -> None:
            for room_id, said in encrypted.items():
                save(r, ROOM, room_id, said)
                r.drop(LEFT, room_id)
            for room_id in left:
                if r.get(ROOM, room_id) is not None:
                    r.put(LEFT, room_id, "")

        if encrypted or left:
            await self._vault.do(work)
            self._sealing.ask_again({*encrypted, *left})

    async def receive(self, answer: JsonObject, *, first: bool = False) -> None:
        """What a sync brings of keys, whoever asked for it; the `first` of a device does not tell what changed before
        it. Raises StateError."""
        events = [obj(event) for event in items(obj(answer.get("to_device")).get("events"))]
        lists = obj(answer.get("device_lists"))
        stale = {user for part in ("changed", "left") for user in items(lists.get(part)) if isinstance(user, str)}

        def work(r: Records) -> bool:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None
            found = False
            for event in events:
                if incoming_room_keys.apply(r, self._vault.key, own, event):
                    found = True
            if events:
                strangers.limit(r, len(events))
            for user in stale:
                device_lists.changed(r, user)
            if first:
                device_lists.all_changed(r)  # what changed meanwhile nobody tells
            return found

        if events or stale or first:
            self._came += await self._vault.do(work)
        self._keys.learn(answer.get("device_one_time_keys_count"), answer.get("device_unused_fallback_key_types"))

    async def read(self, room_id: RoomId, events: Sequence[Any]) -> list[Any]:
        """The events of a room, the encrypted ones as they were meant; those without a key stay as they are, and what
        can never be read, or should have come encrypted, is left out. Raises StateError."""
        if not self._required and not any(_is_encrypted(one) or self._is_doubtful(room_id, one) for one in events):
            return list(events)

        def work(r: Records) -> list[Any]:
            barred = OF_DAEMONS if self._required or r.get(ROOM, room_id) is not None else frozenset[str]()
            if self._required:
                barred |= {OF_PEOPLE}
            return [found for event in events if (found := self._read(r, room_id, event, barred)) is not None]

        found: list[Any] = await self._vault.do(work)
        return found

    def _is_doubtful(self, room_id: RoomId, event: Any) -> bool:
        """Does it depend on the room whether it counts?"""
        return _type(event) in OF_DAEMONS and not self._sealing.is_known_plain(room_id)

    def _read(self, r: Records, room_id: RoomId, event: Any, barred: frozenset[str]) -> Any:
        """`barred`: types of events that count encrypted alone."""
        if not _is_encrypted(event):
            if _type(event) not in barred or obj(event).get("sender") == self._user:
                return event
            _log.warning("an event in %s is passed over: it is not encrypted", room_id)
            return None
        try:
            return megolm.decrypt(r, self._vault.key, room_id, event)
        except megolm.NoKey:
            self._look_for_twin(r, event)
            return None if event.get("sender") == self._user else event
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, megolm.Replayed):
                self._look_for_twin(r, event)
            _log.warning("an encrypted event in %s is passed over: %s", room_id, error)
            return None

    def _look_for_twin(self, r: Records, event: JsonObject) -> None:
        """Say so, once, where an event of our own device is none that we have made."""
        own = OwnDevice.of(r, self._vault.key)
        said_by = obj(event.get("content")).get("device_id")
        if own is None or event.get("sender") != self._user or said_by != own.device_id or self._has_twin:
            return
        self._has_twin = True
        _log.error(
            "another process uses the bot's device %s, with a copy of STATE_DIR or the same token: stop one of the "
            "two, and have it log in for a device of its own with `roommate auth login`",
            own.device_id,
        )

    async def keys_came(self) -> None:
        """More room keys than a sync told of: what waits for one of them is read with the next sync."""
        self._came += 1
        self.hurry = True

    # ── What has no key yet ──────────────────────────────────────────────────────────────────────

    async def wait(self, unread: Iterable[tuple[RoomId, Any]], removed: Iterable[tuple[RoomId, EventId]] = ()) -> None:
        """Keep these events until their keys come, and no longer those that were removed. Raises StateError."""
        found = [(key(room_id, event["event_id"]), event) for room_id, event in unread]
        gone = [key(*one) for one in removed]
        if not found and not gone:
            return
        self.undecrypted += len(found)

        def work(r: Records) -> None:
            for name, event in found:
                try:
                    save(r, WAITING, name, event)
                except (ValueError, RecursionError) as error:  # such as half a surrogate in it
                    _log.warning("an encrypted event is passed over: %s", error)
            for name in gone:
                r.drop(WAITING, name)
            r.drop_before(WAITING, time.time() - KEPT_SECONDS)
            of_room: Counter[str] = Counter()
            for name, _, _ in reversed(r.oldest_first(WAITING)):
                room_id, _, _ = name.partition(" ")
                of_room[room_id] += 1
                if of_room[room_id] > MOST_WAITING:
                    r.drop(WAITING, name)

        await self._vault.do(work)

    async def late(self) -> list[tuple[RoomId, JsonObject]]:
        """Those whose key has come, in the order in which they came; until they are `settled`. Raises StateError."""
        self._looking = self._came
        if self._looking == self._looked:
            return []

        def work(r: Records) -> list[tuple[RoomId, JsonObject]]:
            found = []
            for name, value, _ in r.oldest_first(WAITING):
                room_id, event = RoomId(name.split(" ")[0]), json.loads(value)
                try:
                    found.append((room_id, megolm.decrypt(r, self._vault.key, room_id, event)))
                except megolm.NoKey:
                    continue
                except (ValueError, KeyError, TypeError, RecursionError):
                    r.drop(WAITING, name)
            return found

        found: list[tuple[RoomId, JsonObject]] = await self._vault.do(work)
        return found

    async def settled(self, late: Sequence[tuple[RoomId, JsonObject]], overdue: Sequence[Unread]) -> None:
        """These are stored elsewhere now. Raises StateError."""
        self._told.update(one.session_id for one in overdue)
        self._looked = self._looking
        if not late:
            return

        def work(r: Records) -> None:
            for room_id, event in late:
                r.drop(WAITING, key(room_id, event["event_id"]))

        await self._vault.do(work)

    async def overdue(self) -> list[Unread]:
        """One event of each session whose key should have come, once in this process."""

        def work(r: Records) -> list[Unread]:
            found = []
            for name, value, at in r.oldest_first(WAITING):
                room_id, event = RoomId(name.split(" ")[0]), json.loads(value)
                one = Unread(room_id, event, at)
                why = load(r, WITHHELD, key(room_id, one.session_id)) or {}
                theirs = why.get("by") == event.get("sender")  # anybody may say that of any key
                found.append(Unread(room_id, event, at, str(why.get("code", "")) if theirs else ""))
            return found

        waiting: list[Unread] = [] if self._vault.has_none(WAITING) else await self._vault.do(work)
        found: list[Unread] = []
        self._told &= {one.session_id for one in waiting}
        now, seen = time.time(), set(self._told)
        self.hurry = False
        for one in waiting:
            if one.session_id in seen:
                continue
            if one.withheld or now - one.since >= GRACE_SECONDS:
                seen.add(one.session_id)
                found.append(one)
                self.withheld += bool(one.withheld)
            else:
                self.hurry = True
        return found

    def postpone(self, overdue: Sequence[Unread], seconds: float) -> list[Unread]:
        """Those that were due so long ago that somebody is told nevertheless; the others are due again soon."""
        found = [one for one in overdue if time.time() - one.since >= GRACE_SECONDS + seconds]
        self.hurry = self.hurry or len(found) < len(overdue)
        return found


def _encryption(event: JsonObject) -> JsonObject | None:
    if event.get("type") != "m.room.encryption" or event.get("state_key") != "":
        return None
    return obj(event.get("content"))


def _type(event: Any) -> str:
    found = obj(event).get("type")
    return found if isinstance(found, str) else ""


def _is_encrypted(event: Any) -> bool:
    return _type(event) == "m.room.encrypted" and "state_key" not in obj(event)
