"""Going to another release, and back: asked for in chat, where a card decides; `roommate update` is the host's way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.features.redeploy.update_conversation import REDEPLOY, ROLLBACK, Redeploys
from roommate.operations import Ask, Call, OfRoom, Params, Who, operation


class Redeploy(OfRoom):
    ref: Annotated[str, Field(description="A branch, tag or commit.")] = ""


@dataclass(frozen=True, slots=True)
class Updates:
    redeploys: Redeploys

    @operation(
        "redeploy",
        who=Who.OPERATORS,
        audit="redeploy.ask",
        subject=lambda params: params.ref,
        chat="redeploy",
        socket=False,
    )
    async def redeploy(self, params: Redeploy, call: Call) -> Ask:
        """Shows what would come in, asks, then goes to the newest release, or to a branch, tag or commit."""
        return Ask(await self.redeploys.question(REDEPLOY, params.ref))

    @operation("rollback", who=Who.OPERATORS, audit="rollback.ask", chat="rollback", socket=False)
    async def rollback(self, params: OfRoom, call: Call) -> Ask:
        """Asks, then goes back to the release before."""
        return Ask(await self.redeploys.question(ROLLBACK, ""))

    @operation("version", who=Who.ANYONE, chat="version")
    async def version(self, params: Params, call: Call) -> str:
        """Shows the release that runs."""
        return self.redeploys.version()
