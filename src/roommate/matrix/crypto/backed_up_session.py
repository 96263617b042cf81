"""A room key as the key backup has it: encrypted with a key that the homeserver does not know.

https://spec.matrix.org/v1.16/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2

Whoever knows the backup's public key can put something into it, the homeserver for one. So our own entries say, with a
proof that only the backup's owner can make, whose key it is; those of other clients say nothing of that.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import Any

import vodozemac

from roommate.domain import JsonObject
from roommate.matrix.crypto import megolm
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM
from roommate.matrix.crypto.records import INBOUND, Records, key, load
from roommate.matrix.crypto.secret_storage import keys_of
from roommate.matrix.crypto.signing import canonical, from_unpadded, unpadded
from roommate.matrix.parse import obj, text

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
_ORIGIN = "io.roommate.origin"


@dataclass(frozen=True, slots=True)
class BackupKey:
    """Opens what was sealed with `public`."""

    private: bytes

    @property
    def public(self) -> str:
        return str(self._opens().public_key.to_base64())

    def seal(self, content: JsonObject) -> JsonObject:
        encryption = vodozemac.PkEncryption.from_key(self._opens().public_key)
        sealed = encryption.encrypt(json.dumps(content).encode())
        return {
            "ephemeral": unpadded(sealed.ephemeral_key),
            "ciphertext": unpadded(sealed.ciphertext),
            "mac": unpadded(sealed.mac),
        }

    def unseal(self, sealed: JsonObject) -> JsonObject:
        """Raises ValueError, KeyError, TypeError."""
        parts = [from_unpadded(sealed[part]) for part in ("ciphertext", "mac", "ephemeral")]
        return obj(json.loads(self._opens().decrypt(vodozemac.Message(*parts))))

    def proof(self, *claims: str) -> str:
        _, vouches = keys_of(self.private, _ORIGIN)
        return unpadded(hmac.digest(vouches, canonical({"is": list(claims)}), "sha256"))

    def _opens(self) -> Any:
        return vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(self.private))


def packed(r: Records, pickle_key: bytes, backup: BackupKey, room_id: str, session_id: str) -> JsonObject | None:
    """A room key of ours, to be uploaded; None where it is not there any more."""
    kept = load(r, INBOUND, key(room_id, session_id))
    if kept is None:
        return None
    session = vodozemac.InboundGroupSession.from_pickle(kept["pickle"], pickle_key)
    exported = session.export_at(session.first_known_index)
    assert exported is not None
    content: JsonObject = {
        "algorithm": MEGOLM_ALGORITHM,
        "forwarding_curve25519_key_chain": [],
        "sender_claimed_keys": {"ed25519": kept["ed25519"]},
        "sender_key": kept["curve25519"],
        "session_key": exported.to_base64(),
    }
    if "unproven" not in kept:
        claims = room_id, session_id, content["session_key"], kept["user"], kept["curve25519"], kept["ed25519"]
        content[_ORIGIN] = {"user": kept["user"], "proof": backup.proof(*claims)}
    return {
        "first_message_index": session.first_known_index,
        "forwarded_count": 0,
        "is_verified": False,
        "session_data": backup.seal(content),
    }


def unpack(r: Records, pickle_key: bytes, backup: BackupKey, room_id: str, session_id: str, given: JsonObject) -> bool:
    """Keep what the backup has of a room key; gives whether something can be read now that could not be before.
    Raises ValueError, KeyError or TypeError for what is no room key."""
    content = backup.unseal(given["session_data"])
    if content["algorithm"] != MEGOLM_ALGORITHM:
        raise ValueError("it is encrypted in a way that is not known here")
    exported = vodozemac.ExportedSessionKey(content["session_key"])
    session = vodozemac.InboundGroupSession.import_session(exported)
    if session.session_id != session_id:
        raise ValueError("it is not the key that it says it is")
    curve25519 = text(content["sender_key"]) or ""
    ed25519 = text(obj(content.get("sender_claimed_keys")).get("ed25519")) or ""
    origin = obj(content.get(_ORIGIN))
    user, proof = text(origin.get("user")) or "", text(origin.get("proof")) or ""
    wanted = backup.proof(room_id, session_id, content["session_key"], user, curve25519, ed25519)
    if not hmac.compare_digest(wanted.encode(), proof.encode()):
        user = ""
    return megolm.keep_key(
        r, pickle_key, room_id, session, user=user, curve25519=curve25519, ed25519=ed25519, saved=True
    )
