"""A recovery key as people have it: written in groups of four, or made of a passphrase.

https://spec.matrix.org/v1.16/appendices/#cryptographic-key-representation
"""

from __future__ import annotations

import functools
import hashlib
import operator

from roommate.domain import JsonObject
from roommate.errors import Refused
from roommate.matrix.parse import obj

BYTES = 32
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX = b"\x8b\x01"
_GROUP = 4
MOST_ITERATIONS = 10_000_000
"""Of a passphrase. Clients take 500 000; the homeserver says how many, and could have us count for ever."""


def written(key: bytes) -> str:
    """The key as clients show it."""
    content = _PREFIX + key
    number, digits = int.from_bytes(content + bytes([_parity(content)]), "big"), ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return " ".join(digits[start : start + _GROUP] for start in range(0, len(digits), _GROUP))


def read(text: str) -> bytes:
    """Raises ValueError."""
    number = 0
    for letter in "".join(text.split()):
        number = number * len(_ALPHABET) + _ALPHABET.index(letter)
        if number.bit_length() > 8 * (len(_PREFIX) + BYTES + 1):
            raise ValueError("it is too long for a recovery key")
    content = number.to_bytes(len(_PREFIX) + BYTES + 1, "big")
    if not content.startswith(_PREFIX) or _parity(content):
        raise ValueError("it is no recovery key")
    return content[len(_PREFIX) : -1]


def understood(given: str, description: JsonObject) -> list[bytes]:
    """The keys that may be meant by what a person typed: a recovery key, or the passphrase of the key that is described
    (``m.secret_storage.key.…``). Blocks for as long as counting takes. Raises Refused."""
    try:
        return [read(given)]
    except ValueError:
        if not (how := obj(description.get("passphrase"))):
            raise Refused(
                "this is no recovery key: it has 48 letters and digits, in groups of four; was one mistyped?"
            ) from None
    salt, iterations, bits = how.get("salt"), how.get("iterations"), how.get("bits", 8 * BYTES)
    known = how.get("algorithm") == "m.pbkdf2" and bits == 8 * BYTES and isinstance(salt, str)
    if not known or not isinstance(iterations, int) or not 0 < iterations <= MOST_ITERATIONS:
        raise Refused("the passphrase belongs to its key in a way that is not known here: give the recovery key")
    made = functools.partial(hashlib.pbkdf2_hmac, "sha512", salt=str(salt).encode(), iterations=iterations, dklen=BYTES)
    return [made(password=one.encode()) for one in dict.fromkeys((given, given.strip()))]


def _parity(content: bytes) -> int:
    return functools.reduce(operator.xor, content)
