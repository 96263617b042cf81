"""What anybody may have us keep has a limit: whoever has an account on any homeserver may begin sessions with our
device, give it keys of any room, and say what it cannot read.

Who is a stranger is not known when that comes, for a key may come before the room does. So a session or a key is listed
as `UNUSED` until something in a room needs it, and of that list the newest is kept: so much of one user, and so much of
all users together to whom we have never given a room's key. However much strangers send, it is theirs that goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from roommate.matrix.crypto.records import APPLIED, OLM, UNSAVED, UNUSED, USER, WEDGED, Records, key

MOST_OF_ONE = 200
"""Sessions and keys of one user, and devices of one user with which a session has to begin anew."""
MOST_OF_STRANGERS = 1000
MOST_APPLIED = 1000
"""Events of earlier syncs of which it is known that they were applied. Those of the last one may come again, others
only where a power cut took a token."""


def unused(r: Records, user: str, kind: str, name: str) -> None:
    """This user has us keep that."""
    r.put(UNUSED, key(user, kind, name), "")


def used(r: Records, user: str, kind: str, name: str) -> None:
    """Something in a room needs it, or it is not there any more."""
    r.drop(UNUSED, key(user, kind, name))


def met(r: Records, user: str, curve25519: str) -> None:
    """The device is one of a room: it has given us a key that was needed, or is given one."""
    for name, _ in r.all(UNUSED, key(user, OLM, curve25519, "")):
        r.drop(UNUSED, name)


def limit(r: Records, came: int) -> None:
    """After a sync that brought so many events for our device."""
    r.keep_newest(APPLIED, came + MOST_APPLIED)
    for name in _too_many(r, WEDGED):
        r.drop(WEDGED, name)
    for name in _too_many(r, UNUSED):
        _, kind, row = name.split(" ", 2)
        r.drop(kind, row)
        r.drop(UNSAVED, row)
        r.drop(UNUSED, name)


def _too_many(r: Records, kind: str) -> Iterator[str]:
    of_one, strangers = Counter[str](), 0
    for name, *_ in reversed(r.oldest_first(kind)):
        user = name.partition(" ")[0]
        of_one[user] += 1
        if of_one[user] > MOST_OF_ONE:
            yield name
        elif r.get(USER, user) is None:
            strangers += 1
            if strangers > MOST_OF_STRANGERS:
                yield name
