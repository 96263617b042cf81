"""What two people compare: seven emoji that come of a key exchange, and the keys that each side vouches for with it.

https://spec.matrix.org/v1.16/client-server-api/#short-authentication-string-sas-verification
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import vodozemac

from roommate.domain import JsonObject
from roommate.matrix.crypto.signing import canonical_whole, unpadded

METHOD = "m.sas.v1"
KEY_AGREEMENT, HASH, MAC = "curve25519-hkdf-sha256", "sha256", "hkdf-hmac-sha256.v2"

_TABLE = (
    "🐶 Dog|🐱 Cat|🦁 Lion|🐎 Horse|🦄 Unicorn|🐷 Pig|🐘 Elephant|🐰 Rabbit|"
    "🐼 Panda|🐓 Rooster|🐧 Penguin|🐢 Turtle|🐟 Fish|🐙 Octopus|🦋 Butterfly|🌷 Flower|"
    "🌳 Tree|🌵 Cactus|🍄 Mushroom|🌏 Globe|🌙 Moon|☁️ Cloud|🔥 Fire|🍌 Banana|"
    "🍎 Apple|🍓 Strawberry|🌽 Corn|🍕 Pizza|🎂 Cake|❤️ Heart|😀 Smiley|🤖 Robot|"
    "🎩 Hat|👓 Glasses|🔧 Spanner|🎅 Santa|👍 Thumbs Up|☂️ Umbrella|⌛ Hourglass|⏰ Clock|"
    "🎁 Gift|💡 Light Bulb|📕 Book|✏️ Pencil|📎 Paperclip|✂️ Scissors|🔒 Lock|🔑 Key|"
    "🔨 Hammer|☎️ Telephone|🏁 Flag|🚂 Train|🚲 Bicycle|✈️ Aeroplane|🚀 Rocket|🏆 Trophy|"
    "⚽ Ball|🎸 Guitar|🎺 Trumpet|🔔 Bell|⚓ Anchor|🎧 Headphones|📁 Folder|📌 Pin"
)
EMOJI = tuple((sign, name) for sign, _, name in (one.partition(" ") for one in _TABLE.split("|")))
"""The 64, each with its name: https://spec.matrix.org/v1.16/client-server-api/#sas-method-emoji"""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two devices."""

    user: str
    device: str
    keys: Mapping[str, str]
    """Ed25519 keys by their ids: the device's, and the master key of its user where there is one."""


def start() -> JsonObject:
    """What we can do, for an ``m.key.verification.start``."""
    return {
        "method": METHOD,
        "key_agreement_protocols": [KEY_AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": [MAC],
        "short_authentication_string": ["emoji", "decimal"],
    }


def fits(start: JsonObject) -> bool:
    """Can we do what somebody wants to start with?"""
    wanted = (
        ("key_agreement_protocols", KEY_AGREEMENT),
        ("hashes", HASH),
        ("message_authentication_codes", MAC),
        ("short_authentication_string", "emoji"),
    )
    return all(isinstance(start.get(name), list) and ours in start[name] for name, ours in wanted)


def chosen() -> JsonObject:
    """Of what they can do, for an ``m.key.verification.accept``."""
    return {
        "key_agreement_protocol": KEY_AGREEMENT,
        "hash": HASH,
        "message_authentication_code": MAC,
        "short_authentication_string": ["emoji"],
    }


def is_chosen(accept: JsonObject) -> bool:
    known = accept.get("short_authentication_string")
    said = {**accept, "short_authentication_string": ["emoji"]}
    return isinstance(known, list) and "emoji" in known and chosen().items() <= said.items()


def commitment(public: str, start: JsonObject) -> str:
    """By it who accepts is bound to a key before knowing the other's."""
    return unpadded(hashlib.sha256(public.encode() + canonical_whole(start)).digest())


@dataclass(slots=True)
class Exchange:
    """The exchange of keys: `ours` began it, or not."""

    ours: bool
    me: Side
    them: Side
    txn_id: str
    _sas: Any = field(default_factory=vodozemac.Sas)
    _established: Any = None
    public: str = ""
    emoji: tuple[tuple[str, str], ...] = ()
    """Each with its name, once the other side's key is there."""

    def __post_init__(self) -> None:
        self.public = self._sas.public_key.to_base64()

    def meet(self, public: str) -> None:
        """With the other side's key. Raises ValueError where it is none."""
        self._established = self._sas.diffie_hellman(vodozemac.Curve25519PublicKey.from_base64(public))
        mine, theirs = (self.me, self.public), (self.them, public)
        both = (mine, theirs) if self.ours else (theirs, mine)
        parts = [part for side, key in both for part in (side.user, side.device, key)]
        shown = self._established.bytes("|".join(["MATRIX_KEY_VERIFICATION_SAS", *parts, self.txn_id]))
        self.emoji = tuple(EMOJI[index] for index in shown.emoji_indices)

    def macs(self) -> JsonObject:
        """By which the other side knows our keys, for an ``m.key.verification.mac``."""
        info = self._info(self.me, self.them)
        mac = {name: self._established.calculate_mac(key, info + name) for name, key in self.me.keys.items()}
        return {"mac": mac, "keys": self._established.calculate_mac(",".join(sorted(mac)), f"{info}KEY_IDS")}

    def vouched(self, said: JsonObject) -> frozenset[str]:
        """The ids of their keys that an ``m.key.verification.mac`` proves; the device's is among them. Raises
        ValueError where it proves anything else."""
        info, mac = self._info(self.them, self.me), said.get("mac")
        if not isinstance(mac, dict) or not all(isinstance(one, str) for one in (*mac.values(), said.get("keys"))):
            raise ValueError("it has no keys in it")
        self._established.verify_mac(",".join(sorted(mac)), f"{info}KEY_IDS", said["keys"])
        known = mac.keys() & self.them.keys.keys()
        for name in known:
            self._established.verify_mac(self.them.keys[name], info + name, mac[name])
        if f"ed25519:{self.them.device}" not in known:
            raise ValueError("it does not vouch for the device")
        return frozenset(known)

    def _info(self, of: Side, to: Side) -> str:
        return f"MATRIX_KEY_VERIFICATION_MAC{of.user}{of.device}{to.user}{to.device}{self.txn_id}"
