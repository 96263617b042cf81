"""Who and where, in Matrix' own words; and JSON."""

from __future__ import annotations

from typing import Any, NewType

RoomId = NewType("RoomId", str)
UserId = NewType("UserId", str)
EventId = NewType("EventId", str)
JsonObject = dict[str, Any]
