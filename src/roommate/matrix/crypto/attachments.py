"""Encrypted files: https://spec.matrix.org/v1.16/client-server-api/#sending-encrypted-attachments."""

from __future__ import annotations

import hashlib
import hmac

from roommate.domain import JsonObject
from roommate.errors import Refused
from roommate.matrix.crypto.signing import from_unpadded


def encrypt(content: bytes) -> tuple[bytes, JsonObject]:
    """What to upload, and the ``file`` of the event, to which its ``url`` is to be added. Blocks.

    nio is imported by the first file: that takes 0.15 s of processor time and 12 MiB, which most starts do without.
    """
    from nio.crypto.attachments import encrypt_attachment

    sealed, file = encrypt_attachment(content)
    return sealed, file


class Decryption:
    """Of one file, piece by piece, with the ``file`` of its event. Nothing of it counts before `end`."""

    def __init__(self, file: JsonObject) -> None:
        """Raises Refused: it does not say how it is encrypted."""
        from Crypto.Cipher import AES
        from Crypto.Util import Counter

        try:
            if (file["v"], file["key"]["alg"]) != ("v2", "A256CTR"):
                raise Refused("the file is encrypted in a way that is not known here")
            key = from_unpadded(file["key"]["k"].replace("-", "+").replace("_", "/"))
            counter = from_unpadded(file["iv"])
            self._wanted = from_unpadded(file["hashes"]["sha256"])
            if len(counter) != AES.block_size:
                raise ValueError("the counter has another length")
            start = int.from_bytes(counter[8:], "big")
            self._cipher = AES.new(key, AES.MODE_CTR, counter=Counter.new(64, prefix=counter[:8], initial_value=start))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused("the file does not say how it is encrypted: ask for it to be sent again") from error
        self._hash = hashlib.sha256()

    def piece(self, sealed: bytes) -> bytes:
        self._hash.update(sealed)
        return self._cipher.decrypt(sealed)

    def end(self) -> None:
        """Raises Refused: it is not what was sent."""
        if not hmac.compare_digest(self._hash.digest(), self._wanted):
            raise Refused("the file is damaged, or was changed on its way: ask for it to be sent again")


def decrypt(sealed: bytes, file: JsonObject) -> bytes:
    """The whole of it at once. Raises Refused."""
    decryption = Decryption(file)
    content = decryption.piece(sealed)
    decryption.end()
    return content
