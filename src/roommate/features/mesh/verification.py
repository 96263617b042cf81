"""What a request must stand before anything is done for it, and all of it again when people have said yes.

In this order: shape and size, signature, room and type, sender, target, pin and its scope, clock, replay, policy. Who
fails one is told a code and nothing else; why is for the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from roommate.domain import HostPlace, RoomId
from roommate.errors import NoSuchPlace, SandboxError, StateError
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Forged, Malformed, Request
from roommate.features.mesh.identity_key import Identity
from roommate.features.mesh.policy_decision import NO_FACTS, Decision, Facts, concerned, decide, first
from roommate.features.mesh.policy_file import METHODS, PolicyFile
from roommate.features.mesh.refusals import Code, Refusal
from roommate.store import Claim, MeshArrival, Nonces, Peer, Peers, PeerState, Work
from roommate.store.mesh_nonces import claiming

BEHIND_MS, AHEAD_MS = 120_000, 30_000
"""How far the asker's clock, and the way of its event, may be from ours."""
LIFE_MS = 86_400_000
"""The longest that a request may wait for people."""
START_MS = 300_000
"""How long after it was issued one that no people decide about may begin."""

FindFacts = Callable[[RoomId, Request, HostPlace | None], Awaitable[Facts]]
"""What is true where it would run, for a request that some rule is about. It may be from a hostile asker, and changes
nothing. Raises SandboxError where that cannot be found out, NoSuchPlace where there is nothing to find."""

CLAIMS = {
    Claim.SEEN: Refusal(Code.REPLAY),
    Claim.FULL: Refusal(Code.REPLAY_FULL),
    Claim.BELOW_FLOOR: Refusal(Code.REPLAY_STORE, "issued before what was seen is known, as after a restore"),
    Claim.FORGOTTEN: Refusal(Code.EXPIRED, "what was seen at that time is forgotten: our clock was set back"),
    Claim.LOST: Refusal(Code.UNKNOWN, "issued before a power cut, which may have taken that it was seen"),
    Claim.DAMAGED: Refusal(Code.REPLAY_STORE, "the table of what was seen is damaged"),
}


@dataclass(frozen=True, slots=True)
class Accepted:
    request: Request
    peer: Peer
    decision: Decision
    digest: str
    facts: Facts = NO_FACTS
    """What was judged: to be run just so."""
    claim: Work[Claim] | None = field(default=None, compare=False)
    """To be done in the transaction that stores what comes of it: it counts as seen from then on, and only where that
    gives NEW does anything come of it. None where it was done when the request came."""


def _now() -> int:
    return int(time.time() * 1000)


class Verification:
    def __init__(
        self,
        identity: Callable[[], Identity],
        peers: Peers,
        nonces: Nonces,
        policy: PolicyFile,
        facts: FindFacts,
        *,
        now: Callable[[], int] = _now,
    ) -> None:
        """`now` gives ms since 1970."""
        self._identity, self._peers, self._nonces = identity, peers, nonces
        self._policy, self._facts, self._now = policy, facts, now

    async def check(
        self, arrival: MeshArrival, *, released: bool = False, facts: Facts | None = None
    ) -> Accepted | Refusal:
        """`released`: people have said yes to what was checked before. Then it may be older, and not expired. With
        `facts` nothing is found out: it runs already, by these."""
        try:
            request = envelope.read_request(arrival.content)
            envelope.verify(arrival.content, request.origin, request.sender)
        except Malformed as error:
            return Refusal(Code.MALFORMED, str(error))
        except Forged as error:
            return Refusal(Code.SIGNATURE, str(error))
        if refusal := self._bound(arrival, request):
            return refusal
        try:
            peer = await self._peers.by_key(request.origin)
            refusal = self._pinned(arrival, request, peer) or self._timely(request, released)
            if refusal or peer is None:
                return refusal or Refusal(Code.UNKNOWN_PEER)
            counts, claim = await self._look(arrival, request, released)
        except StateError as error:
            return Refusal(Code.REPLAY_STORE, str(error))
        if counts is not Claim.NEW:
            return CLAIMS[counts]
        return replace(await self._granted(arrival, request, peer, facts), claim=claim)

    async def _look(self, arrival: MeshArrival, request: Request, released: bool) -> tuple[Claim, Work[Claim] | None]:
        """Whether it was seen before, as far as that is known now, and what makes it count as seen."""
        made = self._identity().made
        if released:
            return await self._nonces.still_counts(request.issued, made), None
        # Later than BEHIND_MS a copy is refused for its age, so that long it is remembered; its row knows it then.
        until = min(request.expires, request.issued + BEHIND_MS + 1000)
        of = (request.origin, request.nonce, request.id, arrival.event_id, request.issued, until, self._now(), made)
        return await self._nonces.look(*of), claiming(*of)

    def _bound(self, arrival: MeshArrival, request: Request) -> Refusal | None:
        if arrival.type != envelope.REQUEST or request.room_id != arrival.room_id:
            return Refusal(Code.ROOM, f"signed for {request.room_id}")
        if request.sender != arrival.sender:
            return Refusal(Code.SENDER, f"signed by {request.sender}")
        if request.target != self._identity().public:
            return Refusal(Code.TARGET, f"for {envelope.key_id(request.target)}")
        return None

    def _pinned(self, arrival: MeshArrival, request: Request, peer: Peer | None) -> Refusal | None:
        about = f"key {envelope.key_id(request.origin)}"
        if peer is None or peer.state is PeerState.INTRODUCED:
            return Refusal(Code.UNKNOWN_PEER, about)
        if peer.state is not PeerState.PINNED:
            return Refusal(Code.REVOKED, f"{about} is {peer.state}")
        if peer.mxid != arrival.sender:
            return Refusal(Code.SENDER, f"{about} is pinned to {peer.mxid}")
        if peer.is_over(self._now()):
            return Refusal(Code.TRUST_EXPIRED, about)
        if not peer.covers(arrival.room_id):
            return Refusal(Code.OUT_OF_SCOPE, about)
        return None

    def _timely(self, request: Request, released: bool) -> Refusal | None:
        now = self._now()
        if not 0 < request.expires - request.issued <= LIFE_MS:
            return Refusal(Code.CLOCK, f"it lives {request.expires - request.issued} ms")
        if request.expires <= now:
            return Refusal(Code.EXPIRED, f"{now - request.expires} ms ago")
        if request.issued > now + AHEAD_MS:
            return Refusal(Code.CLOCK, f"issued {request.issued - now} ms from now")
        if request.issued < now - BEHIND_MS and not released:
            return Refusal(Code.EXPIRED, f"issued {now - request.issued} ms ago")
        return None

    async def _granted(
        self, arrival: MeshArrival, request: Request, peer: Peer, known: Facts | None
    ) -> Accepted | Refusal:
        if request.method not in METHODS:
            return Refusal(Code.UNKNOWN_METHOD, request.method)
        about = (peer, arrival.room_id, request.method, request.params)
        places = [] if known else concerned(self._policy.now(), *about)
        try:
            found = [known] if known else [await self._facts(arrival.room_id, request, one) for one in places]
        except NoSuchPlace as error:
            return Refusal(Code.FAILED, str(error))
        except SandboxError as error:
            return Refusal(Code.TRY_AGAIN, str(error))
        policy = self._policy.now()  # it may be another by now
        decision, facts = first([(decide(policy, *about, one), one) for one in found or [NO_FACTS]])
        if not decision.allowed:
            return Refusal(decision.code or Code.POLICY, decision.why)
        return Accepted(request, peer, decision, envelope.digest(request), facts)
