"""Which event used which step of a Megolm ratchet, for ever, in a few bytes each.

A homeserver that shows an encrypted event once more under another id would have the bot do it once more. The same event
again is allowed: it is read again after a crash, and where somebody answers to it.
"""

from __future__ import annotations

import base64
import hmac
import json

from roommate.matrix.crypto.records import INDEX, STEPS, Records, key

STEPS_IN_ROW = 128
MARK = 6
"""Bytes that are remembered of an event's id; with a key that nobody else knows, so that no second one can be found."""
_NONE = bytes(MARK)


def is_first(r: Records, secret: bytes, session_id: str, step: int, event_id: str) -> bool:
    """Is it this event that uses the step? It is from now on, unless another one does."""
    earlier = r.get(INDEX, key(session_id, step))  # of an earlier release, until it is folded
    return earlier in (None, event_id) and _claim(r, session_id, step, _mark(secret, event_id))


def fold(r: Records, secret: bytes, most: int) -> int:
    """Move what an earlier release remembered in a row for each step; gives how many, `most` of them."""
    rows = r.some(INDEX, most)
    for name, event_id in rows:
        session_id, step = name.split(" ")
        _claim(r, session_id, int(step), _mark(secret, event_id))
        r.drop(INDEX, name)
    return len(rows)


def forget(r: Records, session_id: str) -> None:
    """Nothing of this session will be read again."""
    for kind in (STEPS, INDEX):
        for name, _ in r.all(kind, f"{session_id} "):
            r.drop(kind, name)


def _claim(r: Records, session_id: str, step: int, mark: bytes) -> bool:
    name, at = key(session_id, step // STEPS_IN_ROW), step % STEPS_IN_ROW * MARK
    kept = r.get(STEPS, name)
    marks = bytearray(base64.b64decode(kept)) if kept else bytearray()
    if (there := bytes(marks[at : at + MARK])) and there != _NONE:
        return hmac.compare_digest(there, mark)
    marks.extend(bytes(max(0, at + MARK - len(marks))))
    marks[at : at + MARK] = mark
    r.put(STEPS, name, base64.b64encode(marks).decode())
    return True


def _mark(secret: bytes, event_id: str) -> bytes:
    found = hmac.digest(secret, json.dumps(["step", event_id]).encode(), "sha256")[:MARK]
    return found if found != _NONE else b"\1" * MARK
