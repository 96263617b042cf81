"""What was done in a room, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.chat import texts
from roommate.operations import Call, OfRoom, Who, operation
from roommate.store import Audit, Record
from roommate.text.printable import block

MOST_LINES = 50


class Lines(OfRoom):
    most: Annotated[int, Field(ge=1, title="N", description="How many lines.")] = 10


@dataclass(frozen=True, slots=True)
class AuditLog:
    log: Audit

    @operation(
        "audit.list",
        reads=lambda lines: block("\n".join(lines)) if lines else "Nothing was recorded in this room.",
        who=Who.OPERATORS,
        chat="audit",
    )
    async def audit(self, params: Lines, call: Call) -> Sequence[str]:
        # This room's alone: other people read here, too.
        """Shows the newest of what was done in a room, and by whom."""
        records: Sequence[Record] = await self.log.newest(min(params.most, MOST_LINES), call.its_room)
        return [texts.deed(record.at, record.deed, room=False) for record in records]
