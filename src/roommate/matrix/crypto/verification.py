"""One verification, from the request to both sides' word that they are done: what comes in, and what goes out for it.

https://spec.matrix.org/v1.16/client-server-api/#key-verification-framework. Nothing here sends or remembers anything.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from roommate.domain import JsonObject, RoomId
from roommate.matrix.crypto import short_auth_string as sas
from roommate.matrix.crypto.short_auth_string import Exchange, Side

PREFIX = "m.key.verification."
SECONDS = 600.0
"""From the request to the end: https://spec.matrix.org/v1.16/client-server-api/#error-and-exception-handling"""

Said = tuple[str, JsonObject]
"""What goes to the other side: the kind without its `PREFIX`, and the content without what names the verification."""


class Stage(enum.IntEnum):
    ASKED = 0
    """We have asked; nobody has said yes."""
    INVITED = 1
    """They have asked, and are waiting for our word."""
    READY = 2
    STARTED = 3
    """By us."""
    ACCEPTED = 4
    SHOWN = 5
    """Both sides see the emoji."""
    CONFIRMED = 6
    """Somebody has said to us that they match."""
    DONE = 7


class Cancelled(Exception):
    """It cannot go on. The `code` is one of the specification."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(slots=True)
class Verification:
    id: str
    """The transaction's, or the event's that asked in a room."""
    room_id: RoomId | None
    """None: from device to device."""
    me: Side
    user: str
    """Whom it is with."""
    stage: Stage
    ends_at: float
    """By when it has to be over, on the monotonic clock."""
    device: str = ""
    """Theirs, once it is known."""
    them: Side | None = None
    """What the homeserver says of it; there before anything is started."""
    exchange: Exchange | None = None
    vouched: frozenset[str] = field(default_factory=frozenset)
    """Ids of their keys that they have proved to have."""
    told_in: RoomId | None = None
    """The room whose people are shown the emoji."""
    _start: JsonObject = field(default_factory=dict)
    _commitment: str = ""

    @property
    def emoji(self) -> tuple[tuple[str, str], ...]:
        return self.exchange.emoji if self.exchange else ()

    @property
    def is_over(self) -> bool:
        return self.stage is Stage.DONE

    def named(self, content: JsonObject) -> JsonObject:
        """With what says which verification it belongs to."""
        if self.room_id is None:
            return {**content, "transaction_id": self.id}
        return {**content, "m.relates_to": {"rel_type": "m.reference", "event_id": self.id}}

    def ready(self) -> Said:
        self.stage = Stage.READY
        return "ready", {"from_device": self.me.device, "methods": [sas.METHOD]}

    def start(self) -> Said:
        self.exchange, self.stage = self._exchange(ours=True), Stage.STARTED
        self._start = self.named({"from_device": self.me.device, **sas.start()})
        return "start", {"from_device": self.me.device, **sas.start()}

    def take(self, kind: str, content: JsonObject) -> list[Said]:
        """What an event of theirs has us say. Raises Cancelled."""
        match kind:
            case "start":
                return self._started(content)
            case "accept":
                return self._accepted(content)
            case "key":
                return self._met(content)
            case "mac":
                return self._proved(content)
            case "done" if self.stage is Stage.DONE or self.vouched:
                return []
        raise Cancelled("m.unexpected_message", f"{kind} was not expected")

    def confirm(self) -> list[Said]:
        """Somebody says that the emoji match."""
        if self.stage is not Stage.SHOWN or self.exchange is None:
            return []
        self.stage = Stage.CONFIRMED
        return [("mac", self.exchange.macs()), *self._finished()]

    def _started(self, content: JsonObject) -> list[Said]:
        if self.stage not in (Stage.READY, Stage.STARTED):
            raise Cancelled("m.unexpected_message", "it was started before")
        if content.get("from_device") != self.device:
            raise Cancelled("m.invalid_message", "it was started by another device than the one that was ready")
        if content.get("method") != sas.METHOD or not sas.fits(content):
            raise Cancelled("m.unknown_method", "only emoji are known here")
        if self.stage is Stage.STARTED and (self.me.user, self.me.device) < (self.user, self.device):
            return []  # both have started: the smaller one's counts
        self.exchange, self.stage = self._exchange(ours=False), Stage.ACCEPTED
        return [("accept", {**sas.chosen(), "commitment": sas.commitment(self.exchange.public, content)})]

    def _accepted(self, content: JsonObject) -> list[Said]:
        if self.stage is not Stage.STARTED or self.exchange is None:
            raise Cancelled("m.unexpected_message", "nothing was started that could be accepted")
        commitment = content.get("commitment")
        if not sas.is_chosen(content) or not isinstance(commitment, str):
            raise Cancelled("m.unknown_method", "what was chosen was not offered")
        self._commitment, self.stage = commitment, Stage.ACCEPTED
        return [("key", {"key": self.exchange.public})]

    def _met(self, content: JsonObject) -> list[Said]:
        key = content.get("key")
        if self.stage is not Stage.ACCEPTED or self.exchange is None:
            raise Cancelled("m.unexpected_message", "a key was not expected")
        if not isinstance(key, str):
            raise Cancelled("m.invalid_message", "there is no key in it")
        if self.exchange.ours and sas.commitment(key, self._start) != self._commitment:
            raise Cancelled("m.mismatched_commitment", "the key is not the one that was committed to")
        try:
            self.exchange.meet(key)
        except ValueError as error:
            raise Cancelled("m.invalid_message", "the key is none") from error
        self.stage = Stage.SHOWN
        return [] if self.exchange.ours else [("key", {"key": self.exchange.public})]

    def _proved(self, content: JsonObject) -> list[Said]:
        if self.stage not in (Stage.SHOWN, Stage.CONFIRMED) or self.exchange is None or self.vouched:
            raise Cancelled("m.unexpected_message", "a proof of keys was not expected")
        try:
            self.vouched = self.exchange.vouched(content)
        except ValueError as error:
            raise Cancelled("m.key_mismatch", "the keys are not those that the homeserver tells") from error
        return self._finished()

    def _finished(self) -> list[Said]:
        if self.stage is not Stage.CONFIRMED or not self.vouched:
            return []
        self.stage = Stage.DONE
        return [("done", {})]

    def _exchange(self, *, ours: bool) -> Exchange:
        if self.them is None:
            raise Cancelled("m.unexpected_message", "it was not ready yet")
        return Exchange(ours, self.me, self.them, self.id)
