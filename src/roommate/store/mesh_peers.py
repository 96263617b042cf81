"""Other daemons by their keys: which have introduced themselves, and which an operator trusts, where and until when."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from roommate.domain import RoomId, UserId
from roommate.store.database import Database, Transaction, Work


class PeerState(enum.StrEnum):
    """Rows hold these names."""

    INTRODUCED = "introduced"
    """It has said who it is. It may do nothing."""
    PINNED = "pinned"
    REVOKED = "revoked"
    ROTATED = "rotated"
    """Another key has followed it."""


@dataclass(frozen=True, slots=True)
class Peer:
    key: str
    """Its public key: base64 without padding."""
    mxid: UserId
    name: str
    """What our operators call it; no two that are pinned have the same."""
    state: PeerState
    rooms: tuple[RoomId, ...] | None = None
    """Where it is trusted; None is in all rooms."""
    expires: int | None = None
    """Ms since 1970 from which on it is trusted no more."""
    version: str = ""
    methods: tuple[str, ...] = ()
    """What it says that it offers."""
    load: int = 0
    introduced: int | None = None
    """Ms since 1970 of its newest introduction, by its own clock."""
    introduced_in: RoomId | None = None
    by: str = ""
    """Who pinned or revoked it."""
    changed: int = 0
    """Ms since 1970 at which its state became what it is."""
    successor: str = ""
    """The key that has followed it."""

    def is_trusted(self, room_id: RoomId, now: int) -> bool:
        """Pinned, in this room, at this moment (ms since 1970)."""
        return self.state is PeerState.PINNED and self.covers(room_id) and not self.is_over(now)

    def covers(self, room_id: RoomId) -> bool:
        return self.rooms is None or room_id in self.rooms

    def is_over(self, now: int) -> bool:
        return self.expires is not None and now >= self.expires


_COLUMNS = (
    "key, mxid, name, state, rooms, expires, version, methods, load, introduced, introduced_in, "
    "changed_by, changed, successor"
)


class Peers:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> Sequence[Peer]:
        return await self._db.look(all_of)

    async def pinned(self) -> Sequence[Peer]:
        return [one for one in await self.all() if one.state is PeerState.PINNED]

    async def accounts(self) -> Collection[UserId]:
        """Of the daemons that are trusted."""
        return {one.mxid for one in await self.pinned()}

    async def by_key(self, key: str) -> Peer | None:
        return await self._db.look(lambda c: of_key(c, key))

    async def hands_over(self, key: str, to: str, mxid: UserId) -> bool:
        """Has this key of the account said itself which follows it, and that one too, until the one that is pinned?"""
        known = {one.key: one for one in await self.all() if one.mxid == mxid}
        seen = set[str]()
        while (one := known.get(key)) is not None and one.state is PeerState.ROTATED and key not in seen:
            seen.add(key)
            key = one.successor
        return key == to and one is not None and one.state is PeerState.PINNED

    async def in_room(self, room_id: RoomId, now: int) -> Sequence[Peer]:
        """Those that are trusted there at this moment (ms since 1970)."""
        return [one for one in await self.all() if one.is_trusted(room_id, now)]


def all_of(c: Transaction) -> Sequence[Peer]:
    """By name."""
    return [_peer(*row) for row in c.execute(f"SELECT {_COLUMNS} FROM mesh_peers ORDER BY name, key")]  # noqa: S608


def of_key(c: Transaction, key: str) -> Peer | None:
    row = c.execute(f"SELECT {_COLUMNS} FROM mesh_peers WHERE key=?", (key,)).fetchone()  # noqa: S608
    return _peer(*row) if row else None


def keeping(peer: Peer) -> Work[object]:
    """Store it as it is now."""
    rooms = None if peer.rooms is None else json.dumps(peer.rooms)
    row = (
        *(peer.key, peer.mxid, peer.name, peer.state, rooms, peer.expires, peer.version, json.dumps(peer.methods)),
        *(peer.load, peer.introduced, peer.introduced_in, peer.by, peer.changed, peer.successor),
    )
    marks = ", ".join("?" * len(row))
    return lambda c: c.execute(f"INSERT OR REPLACE INTO mesh_peers ({_COLUMNS}) VALUES ({marks})", row)  # noqa: S608


def doubt(c: Transaction) -> int:
    """Trust none any more until an operator says so again, for nobody knows what was revoked since; gives how many."""
    change = "UPDATE mesh_peers SET state=?, changed_by='a restore', changed=? WHERE state=?"
    now = int(time.time() * 1000)
    return c.execute(change, (PeerState.INTRODUCED, now, PeerState.PINNED)).rowcount


def forget_introduced(c: Transaction, mxid: UserId | None, keep: int) -> None:
    """All but the newest `keep` of those that are not trusted and never were: of an account, or of all."""
    c.execute(
        """DELETE FROM mesh_peers WHERE key IN (
             SELECT key FROM mesh_peers WHERE state=? AND (? IS NULL OR mxid=?) ORDER BY changed DESC LIMIT -1 OFFSET ?
           )""",
        (PeerState.INTRODUCED, mxid, mxid, keep),
    )


def _peer(
    key: str,
    mxid: str,
    name: str,
    state: str,
    rooms: str | None,
    expires: int | None,
    version: str,
    methods: str,
    load: int,
    introduced: int | None,
    introduced_in: str | None,
    by: str,
    changed: int,
    successor: str,
) -> Peer:
    return Peer(
        key=key,
        mxid=UserId(mxid),
        name=name,
        state=PeerState(state),
        rooms=None if rooms is None else tuple(map(RoomId, json.loads(rooms))),
        expires=expires,
        version=version,
        methods=tuple(json.loads(methods)),
        load=load,
        introduced=introduced,
        introduced_in=None if introduced_in is None else RoomId(introduced_in),
        by=by,
        changed=changed,
        successor=successor,
    )
