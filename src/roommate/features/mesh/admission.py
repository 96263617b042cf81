"""Whether a peer's request is taken: what it was verified as, its share of this daemon, and what becomes of one that
is not taken."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pydantic import ValidationError

from roommate.domain import MESH_REQUEST, Deed, DeedOutcome, Draft, JsonObject, RoomId
from roommate.features.mesh import request_view
from roommate.features.mesh.envelope import Request, digest, read_request
from roommate.features.mesh.methods import Method
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.refusals import Code, Refusal, refusal_body
from roommate.features.mesh.verification import Accepted
from roommate.matrix import render
from roommate.net.token_bucket import Allowance
from roommate.rooms.live_message_port import Progress
from roommate.store import Audit, MeshArrival
from roommate.store.mesh_requests import PeerRequest, PeerRequests, RequestState

log = logging.getLogger(__name__)

MOST_OF_ROOM, MOST = 8, 32
"""Requests that run or wait for people at the same time."""
REFUSALS, REFUSALS_PER_SECOND = 20, 1
"""Of a sender in a room that are answered and shown; of the others the audit log has how many there were."""
MOST_SENDERS = 1000


class Verifies(Protocol):
    async def check(
        self, arrival: MeshArrival, *, released: bool = False, facts: Facts | None = None
    ) -> Accepted | Refusal:
        """May it be done? Without `released` what it gives has a claim: where that is stored it counts as seen, for any
        other event. `facts` are not found out again where they are given."""
        ...


class Admission:
    def __init__(
        self,
        requests: PeerRequests,
        verification: Verifies,
        *,
        progress: Progress,
        audit: Audit,
        name: Callable[[RoomId, str], Awaitable[str]],
        paused: Callable[[RoomId], bool],
        reply: Callable[[Request, JsonObject], Draft],
    ) -> None:
        """`reply` makes the only reply to a request, which has no row then."""
        self._requests, self._verification = requests, verification
        self._progress, self._audit = progress, audit
        self._name, self._paused, self._reply = name, paused, reply
        self._rates: dict[tuple[str, ...], Allowance] = {}
        self._untold: Counter[tuple[str, RoomId, Code]] = Counter()
        self.came_on_trial = 0
        """Up to this `seq` requests came while this release was on trial, and had to wait for its end."""

    async def check(self, arrival: MeshArrival) -> Accepted | Refusal:
        found = await self._verification.check(arrival)
        if isinstance(found, Refusal) and found.code is Code.EXPIRED and arrival.seq <= self.came_on_trial:
            return Refusal(Code.TRY_AGAIN, f"it came while this release was on trial: {found.detail}")
        return found

    async def check_again(self, row: PeerRequest, facts: Facts | None = None) -> Accepted | Refusal:
        """As when it came, by what is true now; of one that runs by the `facts` that it was let in by."""
        arrival = MeshArrival(
            0, row.event_id, row.room_id, row.sender, int(row.came * 1000), MESH_REQUEST, row.content, None
        )
        found = await self._verification.check(arrival, released=True, facts=facts)
        if isinstance(found, Refusal):
            return found
        if digest(found.request) != row.digest:
            return Refusal(Code.SIGNATURE, "it is not the request that was stored")
        if row.state is RequestState.ACCEPTED and not row.decided_by and row.expires <= time.time() * 1000:
            return Refusal(Code.EXPIRED, "it did not begin in time")
        return found

    async def against(self, request: Request, method: Method[Any], found: Accepted) -> Refusal | None:
        room_id = RoomId(request.room_id)
        try:
            method.params.model_validate(request.params)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            return Refusal(Code.PARAMS, f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}")
        per_minute = found.decision.limits.per_minute
        if not self._allow((request.origin, room_id), per_minute, per_minute / 60):
            return Refusal(Code.RATE)
        if self._paused(room_id) and request.method != "ping":
            return Refusal(Code.PAUSED)
        open_now = await self._requests.open()
        of_room = [row for row in open_now if row.room_id == room_id]
        of_peer = sum(row.peer == request.origin for row in of_room)
        if of_peer >= found.decision.limits.at_once or len(of_room) >= MOST_OF_ROOM or len(open_now) >= MOST:
            return Refusal(Code.BUSY)
        return None

    async def refuse(self, arrival: MeshArrival, refusal: Refusal, found: Accepted | None = None) -> None:
        """Written down, answered where the code says so, and shown where the peer is one of ours."""
        deeds = self._noted(arrival, refusal.code, refusal.detail)
        claim = found.claim if found else refusal.claim
        if not refusal.code.is_told or not self._allow(("refused", arrival.sender, arrival.room_id), REFUSALS, 1):
            await self._requests.answer(arrival, [], deeds, claim)
            return
        request = found.request if found else read_request(arrival.content)
        drafts = [self._reply(request, refusal_body(refusal.code))]
        if found is not None or refusal.code is Code.POLICY:
            who = await self._name(arrival.room_id, arrival.sender)
            said = request_view.refused(who, request.method, refusal.code)
            drafts.append(Draft(arrival.room_id, render.content(said, notice=True), once=f"mesh-no:{arrival.event_id}"))
        await self._requests.answer(arrival, drafts, deeds, claim)
        self._progress.wake()

    async def note(self, arrival: MeshArrival, code: Code, detail: str) -> None:
        for deed in self._noted(arrival, code, detail):
            await self._audit.record(deed)

    async def count_untold(self) -> None:
        """The audit log gets how many there were of those that it has no line of each."""
        for (sender, room_id, code), count in self._untold.items():
            deed = Deed(sender, "mesh", "mesh.request", DeedOutcome.REFUSED, room_id, code, f"{count} times more")
            await self._audit.record(deed)
        self._untold.clear()
        self._rates.clear()

    def _noted(self, arrival: MeshArrival, code: Code, detail: str) -> list[Deed]:
        """What the audit log says of it: nothing where others talk to each other, and of many a count later."""
        if code is Code.TARGET:
            return []
        if not self._allow(("audit", arrival.sender, arrival.room_id), REFUSALS, REFUSALS_PER_SECOND):
            self._untold[arrival.sender, arrival.room_id, code] += 1
            return []
        log.warning("a request of %s is refused: %s %s", arrival.sender, code, detail)
        return [
            Deed(arrival.sender, arrival.event_id, "mesh.request", DeedOutcome.REFUSED, arrival.room_id, code, detail)
        ]

    def _allow(self, key: tuple[str, ...], burst: int, rate: float) -> bool:
        if len(self._rates) > MOST_SENDERS:
            self._rates.clear()
        bucket = self._rates.setdefault(key, Allowance(burst, rate))
        allowed = bucket.take(1, time.monotonic())
        bucket.used(allowed)
        return bool(allowed)
