"""Why a request is not done: codes that never change their meaning. docs/mesh-protocol.md has the table."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from roommate.domain import JsonObject
from roommate.store import Claim, Work


class Code(enum.StrEnum):
    """All that whoever asked is told. What led to it is in the audit log of the one who refused."""

    MALFORMED = "malformed"
    SIGNATURE = "signature"
    SENDER = "sender"
    ROOM = "room"
    TARGET = "target"
    UNKNOWN_PEER = "unknown-peer"
    REVOKED = "revoked"
    TRUST_EXPIRED = "trust-expired"
    OUT_OF_SCOPE = "out-of-scope"
    EXPIRED = "expired"
    CLOCK = "clock"
    REPLAY = "replay"
    REPLAY_FULL = "replay-full"
    REPLAY_STORE = "replay-store"
    POLICY = "policy"
    POLICY_BROKEN = "policy-broken"
    UNKNOWN_METHOD = "unknown-method"
    PARAMS = "params"
    NOT_APPROVED = "not-approved"
    APPROVAL_EXPIRED = "approval-expired"
    CANCELLED = "cancelled"
    RATE = "rate"
    BUSY = "busy"
    PAUSED = "paused"
    TRY_AGAIN = "try-again"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_told(self) -> bool:
        """Is the asker told? Not of what nobody can be held to, what was meant for another daemon, or what was
        answered before."""
        return self not in _SILENT

    @property
    def meaning(self) -> str:
        """In a line, for people."""
        return MEANINGS[self]


_SILENT = frozenset({Code.MALFORMED, Code.SIGNATURE, Code.SENDER, Code.ROOM, Code.TARGET, Code.REPLAY})

MEANINGS = {
    Code.MALFORMED: "it is no request of this protocol",
    Code.SIGNATURE: "its signature is missing or wrong",
    Code.SENDER: "somebody else sent it than signed it",
    Code.ROOM: "it was signed for another room or as another event",
    Code.TARGET: "it is for another daemon",
    Code.UNKNOWN_PEER: "its key is not trusted there",
    Code.REVOKED: "the trust in its key was revoked",
    Code.TRUST_EXPIRED: "the trust in its key has ended",
    Code.OUT_OF_SCOPE: "its key is not trusted in this room",
    Code.EXPIRED: "it came too late",
    Code.CLOCK: "its times are wrong: the clocks differ, or it lives too long",
    Code.REPLAY: "it was seen before",
    Code.REPLAY_FULL: "too many requests of this key are remembered: try again in five minutes",
    Code.REPLAY_STORE: "what was seen before is not known just now, as after a restore: try again in a minute",
    Code.POLICY: "the policy does not grant it",
    Code.POLICY_BROKEN: "the policy cannot be read, so nothing is granted",
    Code.UNKNOWN_METHOD: "there is no such method",
    Code.PARAMS: "its parameters are wrong",
    Code.NOT_APPROVED: "people said no",
    Code.APPROVAL_EXPIRED: "nobody said yes in time",
    Code.CANCELLED: "whoever asked took it back",
    Code.RATE: "too many requests in a short time",
    Code.BUSY: "too many requests run already",
    Code.PAUSED: "the daemon or the room is paused",
    Code.TRY_AGAIN: "the daemon cannot do it at this moment: try again",
    Code.FAILED: "it could not be done",
    Code.UNKNOWN: "it may have run: the daemon ended meanwhile, or has another key",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`detail` is for the audit log alone: the asker gets the code."""

    code: Code
    detail: str = ""
    claim: Work[Claim] | None = field(default=None, compare=False)
    """Of one that was not seen before: to be done in the transaction that stores what comes of it."""


def refusal_body(code: Code) -> JsonObject:
    """The last word of a reply that is no result."""
    return {"kind": "refused", "code": str(code), "message": code.meaning}
