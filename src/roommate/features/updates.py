"""Going to another release, and back: asked for in chat, where a card decides; `roommate update` is the host's way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.operations import Ask, Call, OfRoom, Operation, Params, Who, form
from roommate.redeploy import REDEPLOY, ROLLBACK, Redeploys


class Redeploy(OfRoom):
    ref: Annotated[str, Field(description="A branch, tag or commit.")] = ""


@dataclass(frozen=True, slots=True)
class Updates:
    redeploys: Redeploys

    async def redeploy(self, params: Redeploy, call: Call) -> Ask:
        return Ask(await self.redeploys.question(REDEPLOY, params.ref))

    async def rollback(self, params: OfRoom, call: Call) -> Ask:
        return Ask(await self.redeploys.question(ROLLBACK, ""))

    async def version(self, params: Params, call: Call) -> str:
        return self.redeploys.version()


OPERATIONS = (
    Operation(
        name="redeploy",
        does="shows what would come in, asks, then goes to the newest release, or to a branch, tag or commit",
        params=Redeploy,
        act=Updates.redeploy,
        reads=str,
        who=Who.OPERATORS,
        audit="redeploy.ask",
        subject=lambda params: params.ref,
        chat=(form("redeploy"),),
        socket=False,
    ),
    Operation(
        name="rollback",
        does="asks, then goes back to the release before",
        params=OfRoom,
        act=Updates.rollback,
        reads=str,
        who=Who.OPERATORS,
        audit="rollback.ask",
        chat=(form("rollback"),),
        socket=False,
    ),
    Operation(
        name="version",
        does="shows the release that runs",
        params=Params,
        act=Updates.version,
        reads=str,
        who=Who.ANYONE,
        chat=(form("version"),),
    ),
)
