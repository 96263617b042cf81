"""The device that we are: its identity keys, what it signs, and the one-time keys that others begin sessions with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import vodozemac

from roommate.domain import JsonObject, UserId
from roommate.matrix.crypto.records import ACCOUNT, OF_DEVICE, Records, load, save
from roommate.matrix.crypto.signing import canonical

OLM_ALGORITHM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM_ALGORITHM = "m.megolm.v1.aes-sha2"

_OWN = "own"


@dataclass(slots=True)
class OwnDevice:
    """As a transaction found it; `save` keeps what was changed in that same transaction."""

    user_id: UserId
    device_id: str
    account: vodozemac.Account = field(repr=False)
    fallback: JsonObject = field(default_factory=dict)
    """A fallback key that the homeserver may not have yet."""

    @classmethod
    def of(cls, r: Records, pickle_key: bytes) -> Self | None:
        """The one that is remembered, None where there is none."""
        kept = load(r, ACCOUNT, _OWN)
        if kept is None:
            return None
        account = vodozemac.Account.from_pickle(kept["pickle"], pickle_key)
        return cls(UserId(kept["user"]), kept["device"], account, kept["fallback"])

    @classmethod
    def begin(cls, r: Records, pickle_key: bytes, user_id: UserId, device_id: str) -> Self:
        """A new device, which knows nothing of an earlier one but the room keys that were given to that."""
        for kind in OF_DEVICE:
            r.drop_all(kind)
        self = cls(user_id, device_id, vodozemac.Account())
        self.save(r, pickle_key)
        return self

    def save(self, r: Records, pickle_key: bytes) -> None:
        kept = {
            "user": self.user_id,
            "device": self.device_id,
            "pickle": self.account.pickle(pickle_key),
            "fallback": self.fallback,
        }
        save(r, ACCOUNT, _OWN, kept)

    @property
    def curve25519(self) -> str:
        return self.account.curve25519_key.to_base64()

    @property
    def ed25519(self) -> str:
        return self.account.ed25519_key.to_base64()

    @property
    def key_id(self) -> str:
        return f"ed25519:{self.device_id}"

    def signed(self, value: JsonObject) -> JsonObject:
        return {
            **value,
            "signatures": {self.user_id: {self.key_id: self.account.sign(canonical(value)).to_base64()}},
        }

    def keys(self) -> JsonObject:
        """``device_keys`` of an upload: https://spec.matrix.org/v1.16/client-server-api/#device-keys"""
        return self.signed(
            {
                "user_id": self.user_id,
                "device_id": self.device_id,
                "algorithms": [OLM_ALGORITHM, MEGOLM_ALGORITHM],
                "keys": {f"curve25519:{self.device_id}": self.curve25519, self.key_id: self.ed25519},
            }
        )

    def fresh_one_time_keys(self, count: int) -> JsonObject:
        """So many new ones to upload. They count as published from now on: one that was uploaded twice, since nobody
        knows whether the first time worked, could be claimed twice, and only the first of the two would be understood.
        """
        self.account.generate_one_time_keys(count)
        fresh = {
            f"signed_curve25519:{name}": self.signed({"key": public.to_base64()})
            for name, public in self.account.one_time_keys.items()
        }
        self.account.mark_keys_as_published()
        return fresh

    def fresh_fallback_key(self) -> JsonObject:
        """What others begin sessions with when all one-time keys are used up. The same until it was uploaded."""
        if not self.fallback:
            account: Any = self.account  # its stubs do not know of fallback keys
            account.generate_fallback_key()
            self.fallback = {
                f"signed_curve25519:{name}": self.signed({"key": public.to_base64(), "fallback": True})
                for name, public in account.fallback_key.items()
            }
            self.account.mark_keys_as_published()
        return self.fallback
