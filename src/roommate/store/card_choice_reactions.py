"""The choices of a card as reactions of the bot, so that people tap: there when its message is, until it is closed.

They are sent one behind the other, in their order, and clients that see them come show them so. One that reads the past
of a room backwards shows them the other way round (matrix-js-sdk orders reactions by number, then as it came to know
them), and nothing that is sent changes that: so no text says where a choice stands.
"""

from __future__ import annotations

import sqlite3
import time
import unicodedata
from collections.abc import Sequence

from roommate.domain import Draft, EventId, Rank

_AS_EMOJI = "\ufe0f"
"""Behind a character: show it as an emoji."""
_CAP = "\u20e3"
"""Behind a digit: a key with it."""


def put_up(c: sqlite3.Connection, message: int, event: EventId) -> Sequence[Draft]:
    """What goes with this row of the outbox, which has arrived as `event`, if it shows an open card."""
    query = "SELECT id, room_id, choices FROM cards WHERE outbox_id=? AND verdict IS NULL AND expires>?"
    if (card := c.execute(query, (message, time.time())).fetchone()) is None:
        return []
    number, room_id, choices = card
    return [
        Draft(
            room_id,
            {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": _emoji(choice)}},
            Rank.SIGN,
            event_type="m.reaction",
            once=f"choice:{number}:{choice}",
        )
        for choice in filter(None, choices.split(" "))
    ]


def take_off(c: sqlite3.Connection, card: int) -> Sequence[Draft]:
    """What takes them off again. They may be put up anew, in the room that has replaced theirs."""
    of_card = f"choice:{card}:", f"choice:{card};"
    rows = c.execute("SELECT id, room_id, state FROM outbox WHERE once > ? AND once < ?", of_card).fetchall()
    c.execute("UPDATE outbox SET once=NULL WHERE once > ? AND once < ?", of_card)
    gone = [(row, room_id) for row, room_id, state in sorted(rows) if state != "failed"]
    return [Draft(room_id, {}, Rank.SIGN, event_type="m.room.redaction", redacts=row) for row, room_id in gone]


def beside(key: str) -> str:
    """The same choice to whoever reads it, and another key than the bot's own: a homeserver takes each key but once of
    one sender, and people are spoken for with the bot's account."""
    choice = key.replace(_AS_EMOJI, "")
    return choice if _emoji(choice) != choice else choice + _AS_EMOJI


def _emoji(choice: str) -> str:
    """As clients write it: what is no emoji by itself is made one (https://unicode.org/reports/tr51/)."""
    if choice.endswith(_CAP):
        return choice[0] + _AS_EMOJI + choice[1:]
    return choice if len(choice) == 1 and unicodedata.east_asian_width(choice) == "W" else choice + _AS_EMOJI
