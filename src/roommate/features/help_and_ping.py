"""What the bot tells of itself: what it can be asked for, whether it hears, and what is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roommate.administration.settings_reload import Setting, settings
from roommate.operations import Call, Params, Who, operation
from roommate.settings.config import Settings
from roommate.text.printable import in_code

LONGEST = 300
"""Characters of a value that are shown."""


def what_is_set(found: Sequence[Setting]) -> str:
    shown = [f"- `{one.name}` {in_code(one.value, LONGEST)}" for one in found if not one.default]
    return "What is set (the rest has its default):\n\n" + "\n".join(shown)


@dataclass(frozen=True, slots=True)
class About:
    settings: Callable[[], Settings]
    reference: Callable[[], str]
    """All that can be said, as a list."""

    @operation("help", who=Who.ANYONE, chat="help", socket=False)
    async def help(self, params: Params, call: Call) -> str:
        """Shows this."""
        return (
            "Write to me and I work in this room's container. In rooms of more than two, mention me. Commands:\n\n"
            f"{self.reference()}"
        )

    @operation("ping", who=Who.ANYONE, chat="ping", socket=False)
    async def ping(self, params: Params, call: Call) -> str:
        """Answers with how long your message took to get here."""
        late = max(0.0, time.time() - call.asked_at) * 1000
        return f"Pong: your message was here after {late:.0f} ms."

    @operation("settings", reads=what_is_set, who=Who.OPERATORS, chat="settings")
    async def set(self, params: Params, call: Call) -> Sequence[Setting]:
        """Shows what is set, without secrets."""
        return settings(self.settings())
