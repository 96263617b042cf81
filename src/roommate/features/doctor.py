"""Whether all that the bot needs is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate.chat import texts
from roommate.domain import Check
from roommate.errors import NotFound
from roommate.host import deadlines
from roommate.operations import Call, Params, Who, operation
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.settings.config import Settings
from roommate.store import Inbox, Outbox

DOCTOR_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Doctor:
    settings: Callable[[], Settings]
    inbox: Inbox
    outbox: Outbox
    sandboxes: Sandboxes
    silent_seconds: Callable[[], float | None]
    places: Callable[[], Awaitable[Sequence[Check]]]
    """Of other daemons' programs, outside of containers."""

    @operation("doctor", reads=texts.checked, who=Who.OPERATORS, chat="doctor")
    async def doctor(self, params: Params, call: Call) -> Sequence[Check]:
        """Looks at everything I need, and says how to mend it."""
        from roommate.administration.doctor_checks import Known, examine

        known = Known(await self.inbox.account(), await self.outbox.pace(), True, self.silent_seconds())
        seconds = DOCTOR_SECONDS * self.settings().patience
        try:
            async with deadlines.within(seconds):
                return await examine(self.settings(), known, self.sandboxes.check, [self.places])
        except TimeoutError:
            raise NotFound(f"it took longer than {seconds:g} s: look with `roommate doctor` on the host") from None
