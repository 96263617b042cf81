"""Which trusted peer is meant by a name, and in which room it is asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate.domain import RoomId
from roommate.errors import NotFound, Transient
from roommate.features.mesh.identity_key import words
from roommate.store import Inbox, Peer, Peers

LEAST = 4
"""Characters of a key's words that may stand for it."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A peer, and a room that it shares with us, where it is trusted."""

    peer: Peer
    room_id: RoomId


@dataclass(frozen=True, slots=True)
class PeerChoice:
    """Of the peers that operators trust."""

    peers: Peers
    inbox: Inbox
    members: Callable[[RoomId], Awaitable[set[str]]]
    """Who has joined a room, as far as syncs tell. Raises Transient or Refused."""

    async def here(self, room_id: RoomId) -> Sequence[Peer]:
        """Those in a room."""
        trusted = await self.peers.in_room(room_id, _now())
        joined = await self.members(room_id) if trusted else set()
        return [peer for peer in trusted if peer.mxid in joined]

    async def everywhere(self) -> Sequence[Reached]:
        found = []
        if await self.peers.pinned():
            for room_id in await self.inbox.joined_rooms():
                found += [Reached(peer, room_id) for peer in await self.here(room_id)]
        return found

    async def find(self, name: str, room_id: RoomId | None) -> Reached:
        """Raises NotFound, which says what there is."""
        try:
            known = [one for one in await self.peers.pinned() if not one.is_over(_now())]
        except Transient as error:
            raise NotFound(str(error)) from error
        peer = _meant(name, known)
        if room_id is not None:
            if not peer.is_trusted(room_id, _now()):
                raise NotFound(f"{peer.name} is not trusted in that room: `roommate trust show {peer.name}` says where")
            if peer.mxid not in await self.members(room_id):
                raise NotFound(f"{peer.name} ({peer.mxid}) is not in that room: invite it")
            return Reached(peer, room_id)
        shared = [one for one in await self.inbox.joined_rooms() if peer.is_trusted(one, _now())]
        shared = [one for one in shared if peer.mxid in await self.members(one)]
        if not shared:
            raise NotFound(f"{peer.name} ({peer.mxid}) is in no room with this bot where it is trusted")
        if len(shared) > 1:
            raise NotFound(f"{peer.name} is in {len(shared)} rooms with this bot: say which (--room {shared[0]} …)")
        return Reached(peer, shared[0])


def _meant(name: str, known: Sequence[Peer]) -> Peer:
    """By its name, Matrix id, the name in that, or the beginning of its key's words."""
    wanted = name.removeprefix("@")
    tests: Sequence[Callable[[Peer], bool]] = (
        lambda peer: peer.name == name or peer.key == name,
        lambda peer: peer.mxid == name or peer.name == wanted,
        lambda peer: peer.mxid[1:].partition(":")[0] == wanted,
        lambda peer: len(wanted) >= LEAST and words(peer.key).startswith(wanted),
    )
    for test in tests:
        if len(found := [peer for peer in known if test(peer)]) == 1:
            return found[0]
        if found:
            raise NotFound(f"{len(found)} peers are called {name}: {', '.join(words(one.key) for one in found)}")
    there = ", ".join(peer.name for peer in known) or "none: `roommate trust ls` shows who has introduced itself"
    raise NotFound(f"no trusted peer is called {name} (there is {there})")


def _now() -> int:
    return int(time.time() * 1000)
