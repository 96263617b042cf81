"""What encryption asks of the place where it remembers: named texts, changed in transactions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from roommate.domain import JsonObject

T = TypeVar("T")

ACCOUNT = "account"
"""By the one name ``own``: our device and its identity keys."""
OLM = "olm"
"""By ``CURVE25519 SESSION``: sessions with other devices."""
INBOUND = "inbound"
"""By ``ROOM SESSION``: the room keys that we were given, and our own."""
DISPUTED = "disputed"
"""By ``ROOM SESSION USER``: a room key that is `INBOUND` as that of somebody else, who gave it first."""
OUTBOUND = "outbound"
"""By room: the Megolm session that is written with."""
SHARED = "shared"
"""By ``SESSION USER DEVICE``: who has the key of that, or will have it by what is `POSTED`; the Curve25519 key."""
INDEX = "index"
"""By ``SESSION STEP``: the event that used this step of a ratchet. Of earlier releases; `STEPS` now."""
STEPS = "steps"
"""By ``SESSION NUMBER``: marks of the events that used so many steps of a ratchet, see `replay_guard`."""
GONE = "gone"
"""By ``ROOM SESSION``: room keys that were thrown away for good."""
LEFT = "left"
"""By room: we are not in it any more."""
BACKUP = "backup"
"""By the one name ``own``: the key backup on the homeserver, and its key."""
UNSAVED = "unsaved"
"""By ``ROOM SESSION``: room keys that the backup does not have yet."""
SETUP = "setup"
"""By the one name ``own``: a recovery key that nobody was shown yet."""
APPLIED = "applied"
"""By hash: to-device events that have taken effect."""
POSTED = "posted"
"""By transaction id: to-device messages that have to go out."""
SEALED = "sealed"
"""By transaction id: an encrypted event that may not have arrived yet."""
USER = "user"
"""By user: whether their list of devices is as new as the homeserver has it, and the devices."""
ROOM = "room"
"""By room: its ``m.room.encryption``, for ever."""
SHUNNED = "shunned"
"""By ``SESSION USER DEVICE``: a device that was told that it does not get the key of that."""
WAITING = "waiting"
"""By ``ROOM EVENT``: encrypted events whose key we do not have."""
WITHHELD = "withheld"
"""By ``ROOM SESSION``: why its sender does not give us the key."""
ASKED = "asked"
"""By ``ROOM SESSION``: keys that we have asked for."""
WEDGED = "wedged"
"""By ``USER CURVE25519``: a device with which a new Olm session has to begin."""
UNUSED = "unused"
"""By ``USER KIND NAME``: what this user had us keep of that kind, and nothing in a room has needed yet."""
WANTED = "wanted"
"""By ``DEVICE REQUEST``: secrets of the account that other sessions of the account ask for."""
VERIFYING = "verifying"
"""By transaction or event id: verifications that run, for the start after this process."""
VERIFIED = "verified"
"""By user: the master key that somebody has compared."""

OF_DEVICE = (ACCOUNT, OLM, OUTBOUND, SHARED, SHUNNED, APPLIED, POSTED, SEALED, ASKED, WEDGED, WANTED, VERIFYING)
"""What is of no use to another device of ours."""


class Records(Protocol):
    """Within one transaction."""

    def get(self, kind: str, key: str) -> str | None: ...

    def put(self, kind: str, key: str, value: str) -> None: ...

    def drop(self, kind: str, key: str) -> None: ...

    def drop_all(self, kind: str) -> None: ...

    def drop_before(self, kind: str, at: float) -> None:
        """Those put first before this time, in seconds since 1970."""
        ...

    def keep_newest(self, kind: str, most: int) -> None:
        """Drop all but so many that were put first last."""
        ...

    def all(self, kind: str, prefix: str = "") -> list[tuple[str, str]]:
        """Keys that begin so, in their order, with their values."""
        ...

    def some(self, kind: str, most: int) -> list[tuple[str, str]]:
        """As many, by their keys' order."""
        ...

    def oldest_first(self, kind: str) -> list[tuple[str, str, float]]:
        """Keys, values, and when each was put first, in seconds since 1970."""
        ...


class Vault(Protocol):
    key: bytes
    """32 bytes, which secrets within values are encrypted with."""

    async def do(self, work: Callable[[Any], T]) -> T:
        """Do `work` with `Records` in one transaction, which is on the disk when this returns. Raises StateError."""
        ...

    def has_none(self, kind: str) -> bool:
        """There is no record of this kind, nor will one have come unseen; False where nobody has looked since the last
        one came. So that each sync need not look for what is hardly ever there."""
        ...


def key(*parts: object) -> str:
    return " ".join(map(str, parts))


def load(r: Records, kind: str, name: str) -> JsonObject | None:
    found = r.get(kind, name)
    return None if found is None else json.loads(found)


def save(r: Records, kind: str, name: str, value: JsonObject) -> None:
    r.put(kind, name, json.dumps(value, ensure_ascii=False))
