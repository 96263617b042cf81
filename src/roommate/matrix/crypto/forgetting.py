"""What encryption need not remember any more."""

from __future__ import annotations

import time

from roommate.matrix.crypto import replay_guard
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.records import (
    ASKED,
    DISPUTED,
    GONE,
    INBOUND,
    LEFT,
    OUTBOUND,
    SEALED,
    SHARED,
    SHUNNED,
    UNSAVED,
    WAITING,
    WITHHELD,
    Records,
    Vault,
)
from roommate.matrix.parse import items

SEALED_SECONDS = 60 * 86400.0
"""How long an encrypted event that never went out can be sent as it was."""
ASKED_SECONDS = 30 * 86400.0
"""How long the answer to a request for a key is taken, and it is known why there is none."""
LEFT_SECONDS = 30 * 86400.0
"""How long a room's keys are kept after it was left."""
ROWS = 1000
"""In one transaction: others wait for it."""


async def forget(vault: Vault, ask: Ask) -> None:
    """Raises MatrixError, StateError."""
    rooms: list[str] = await vault.do(_forget_old)
    answer = await ask.call("tell the bot's rooms", "GET", "/joined_rooms") if rooms else {}
    again = set(items(answer.get("joined_rooms"))) & set(rooms)
    for room in again:
        await vault.do(lambda r, room=room: r.drop(LEFT, room))  # type: ignore[misc]
    for room in set(rooms) - again:
        await vault.do(lambda r, room=room: _forget_room(r, room))  # type: ignore[misc]
    while await vault.do(lambda r: replay_guard.fold(r, vault.key, ROWS)) == ROWS:
        pass


def _forget_old(r: Records) -> list[str]:
    now = time.time()
    r.drop_before(SEALED, now - SEALED_SECONDS)
    for kind in (ASKED, WITHHELD):
        r.drop_before(kind, now - ASKED_SECONDS)
    return [room for room, _, at in r.oldest_first(LEFT) if at < now - LEFT_SECONDS]


def _forget_room(r: Records, room: str) -> None:
    """Of its keys no more is known than that they were there: one that came again would have old messages come again,
    since it is forgotten with them which were read."""
    for name, _ in r.all(INBOUND, f"{room} "):
        session_id = name.rpartition(" ")[2]
        replay_guard.forget(r, session_id)
        for kind in (SHARED, SHUNNED):
            for told, _ in r.all(kind, f"{session_id} "):
                r.drop(kind, told)
        r.drop(INBOUND, name)
        r.put(GONE, name, "")
    for kind in (DISPUTED, UNSAVED, WAITING, ASKED, WITHHELD):
        for name, _ in r.all(kind, f"{room} "):
            r.drop(kind, name)
    r.drop(OUTBOUND, room)
    r.drop(LEFT, room)
