"""The side of the mesh that answers, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from roommate.administration.startup_order import Phase, Service
from roommate.domain import MESH_INPUT, MESH_REQUEST, JsonObject, RoomId
from roommate.features.mesh.admission import Admission
from roommate.features.mesh.answering import Answering
from roommate.features.mesh.call_method import call_method, described_tools
from roommate.features.mesh.event_dispatch import Deal
from roommate.features.mesh.exec_method import exec_method
from roommate.features.mesh.methods import Method, Methods
from roommate.features.mesh.ping_and_who import ping, who
from roommate.features.mesh.reply_drafts import replying, replying_once
from roommate.features.mesh.resolve_paths_in_room import finding_facts
from roommate.features.mesh.running_requests import RunningRequests
from roommate.features.mesh.share_methods import Media, share_methods
from roommate.features.mesh.trust import Trust
from roommate.features.mesh.verification import Verification
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Decide, Questions
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.rooms.turn_holds import Holds
from roommate.store import Audit, Cards, Database, Outbox, PeerRequests
from roommate.store.mesh_events import REDACTED


class Account(Protocol):
    """See matrix/homeserver.py."""

    async def put_file(self, room: RoomId, content: bytes, content_type: str, name: str) -> JsonObject: ...


class AnsweringPart(NamedTuple):
    requests: PeerRequests
    admission: Admission
    running: RunningRequests
    deals: Mapping[str, Deal]
    decide: Decide
    service: Service


def answering_part(
    database: Database,
    account: Account,
    outbox: Outbox,
    progress: Progress,
    media: Media,
    trust: Trust,
    *,
    sandboxes: Sandboxes,
    questions: Questions,
    holds: Holds,
    name: Callable[[RoomId, str], Awaitable[str]],
    is_operator: Callable[[str], bool],
) -> AnsweringPart:
    requests = PeerRequests(database, replying(lambda: trust.identity, trust.bot))
    facts = finding_facts(sandboxes)

    def upload(room_id: RoomId, content: bytes, file: str) -> Awaitable[JsonObject]:
        return account.put_file(room_id, content, "application/octet-stream", file)

    methods = _methods(sandboxes, media, lambda: trust.load())
    reply = replying_once(lambda: trust.identity, trust.bot)
    admission = Admission(
        requests,
        Verification(lambda: trust.identity, trust.peers, trust.nonces, trust.policy, facts),
        progress=progress,
        audit=Audit(database),
        name=name,
        paused=lambda room_id: holds.of(room_id) is not None,
        reply=reply,
    )
    running = RunningRequests(
        requests,
        admission,
        methods,
        outbox=outbox,
        progress=progress,
        questions=questions,
        cards=Cards(database),
        name=name,
        upload=upload,
        folder=trust.folder,
    )
    answering = Answering(
        requests,
        admission,
        running,
        methods,
        progress=progress,
        questions=questions,
        name=name,
        is_operator=is_operator,
        reply=reply,
        policy=lambda: trust.policy.stamp,
    )
    trust.load = lambda: running.load
    trust.changed.append(answering.recheck)
    deals = {
        MESH_REQUEST: answering.hear_request,
        MESH_INPUT: answering.hear_input,
        REDACTED: answering.hear_redaction,
    }
    service = Service(Phase.READY, answering.run)
    return AnsweringPart(requests, admission, running, deals, answering.decide, service)


def _methods(sandboxes: Sandboxes, media: Media, load: Callable[[], int]) -> Methods:
    found: tuple[Method[Any], ...] = (
        ping(load),
        who(lambda: [one.name for one in found], described_tools()),
        exec_method(sandboxes),
        call_method(sandboxes),
        *share_methods(sandboxes, media),
    )
    return {one.name: one for one in found}
