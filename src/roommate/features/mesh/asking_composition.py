"""The side of the mesh that asks, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, Protocol

from roommate.administration.startup_order import Phase, Service
from roommate.domain import JsonObject, RoomId
from roommate.features.mesh.ask_and_await import PeerCalls
from roommate.features.mesh.asking import Asking
from roommate.features.mesh.asking_operations import PeerOperations
from roommate.features.mesh.mesh_tools import PeerTools
from roommate.features.mesh.peer_choice import PeerChoice
from roommate.features.mesh.policy_decision import may_ask
from roommate.features.mesh.reply_output import Media
from roommate.features.mesh.trust import Trust
from roommate.rooms.file_delivery import largest
from roommate.rooms.live_message_port import Progress
from roommate.store import AskedRequests, Audit, Database, Inbox, MeshArrival, Outbox, Peer, Rooms, Turn
from roommate.tools.tool import Source


class Account(Protocol):
    """See matrix/homeserver.py."""

    async def put_file(self, room: RoomId, content: bytes, content_type: str, name: str) -> JsonObject: ...

    async def upload_limit(self) -> int | None: ...


class AskingPart(NamedTuple):
    asking: Asking
    operations: PeerOperations
    hear: Callable[[MeshArrival], Awaitable[None]]
    """Deals with replies."""
    service: Service
    tools: Callable[[Turn], Source]


def asking_part(
    database: Database,
    account: Account,
    outbox: Outbox,
    progress: Progress,
    media: Media,
    trust: Trust,
    *,
    members: Callable[[RoomId], Awaitable[set[str]]],
    wait_seconds: Callable[[], float],
) -> AskingPart:
    """`members` gives who is in a room; `wait_seconds`: how long people at a peer may take to decide."""
    asking = Asking(
        AskedRequests(database),
        trust.peers,
        outbox,
        progress,
        Audit(database),
        identity=lambda: trust.identity,
        bot=trust.bot,
        wait_seconds=wait_seconds,
    )
    trust.changed.append(asking.look)
    choice = PeerChoice(trust.peers, Inbox(database), members)
    calls, rooms = PeerCalls(choice, asking, media), Rooms(database)

    def may(peer: Peer, room_id: str, method: str) -> bool:
        return may_ask(trust.policy.now(), peer, RoomId(room_id), method)

    async def name(room_id: RoomId) -> str:
        return (await rooms.get(room_id)).name or ""

    operations = PeerOperations(calls, account.put_file, partial(largest, account.upload_limit), name)
    tools = PeerTools(calls, lambda: asking.known, may).of
    return AskingPart(asking, operations, asking.hear, Service(Phase.READY, asking.run), tools)
