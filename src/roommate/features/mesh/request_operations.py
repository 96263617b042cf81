"""What operators look at and end of what peers ask of this daemon."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import JsonObject, RoomId, UserId
from roommate.errors import NotFound
from roommate.features.mesh import request_view
from roommate.features.mesh.answering import Answering
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.refusals import Code
from roommate.operations import Call, Params, Table, operation
from roommate.store import PeerRequest, PeerRequests
from roommate.text.amounts import age
from roommate.text.printable import one_line, plain, printable

SHOWN = 50


class Numbered(Params):
    request: Annotated[int, Field(title="N", description="A request's number, as `requests ls` shows it.")]


@dataclass(frozen=True, slots=True)
class Listed:
    """`seconds` is how long ago it came; `state` is ``held``, ``accepted``, ``running`` or ``done``; `outcome` of one
    that is done ``result``, or why it was refused."""

    number: int
    room_id: RoomId
    sender: UserId
    words: str
    method: str
    asked: str
    state: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown(Listed):
    """`result` is the last that was replied."""

    line: str
    decided_by: str
    digest: str
    result: JsonObject | None


def _table(found: Sequence[Listed]) -> Table:
    rows = [
        (str(one.number), age(one.seconds), one.sender, one.room_id, one.outcome or one.state, one_line(one.asked, 60))
        for one in found
    ]
    return Table(rows, ("request", "age", "from", "room", "state", "asks"))


def _whole(one: Shown) -> str:
    lines = (
        ("request", f"{one.number}, {one.method}, {age(one.seconds)} ago"),
        ("from", f"{one.sender} ({one.words})"),
        ("room", one.room_id),
        ("state", one.outcome or one.state),
        ("decided", " ".join(filter(None, (one.line, one.decided_by)))),
        ("digest", one.digest),
        ("result", str(one.result) if one.result else ""),
    )
    return printable("\n".join([*(f"{name:8} {what}" for name, what in lines if what), "", one.asked]))


@dataclass(frozen=True, slots=True)
class RequestOperations:
    requests: PeerRequests
    answering: Answering

    @operation("requests.list", terminal=_table, cli="requests ls")
    async def list(self, params: Params, call: Call) -> Sequence[Listed]:
        """Shows what peers have asked of this daemon, the newest first."""
        return [Listed(*_listed(one)) for one in await self.requests.newest(SHOWN)]

    @operation("requests.show", terminal=_whole, cli="requests show")
    async def show(self, params: Numbered, call: Call) -> Shown:
        """Shows one of them whole."""
        one = await self._find(params.request)
        return Shown(*_listed(one), one.line, one.decided_by, one.digest, one.result)

    @operation(
        "requests.cancel",
        audit="mesh.cancel",
        subject=lambda params: str(params.request),
        cli="requests cancel",
    )
    async def cancel(self, params: Numbered, call: Call) -> str:
        """Ends one that is held or runs."""
        if not await self.answering.stop(await self._find(params.request), Code.CANCELLED):
            raise NotFound(f"request {params.request} is over already")
        return f"Request {plain(str(params.request))} is ended."

    async def _find(self, number: int) -> PeerRequest:
        if (found := await self.requests.get(number)) is None:
            raise NotFound(f"there is no request {number}: `roommate requests ls` shows those that are")
        return found


def _listed(one: PeerRequest) -> tuple[int, RoomId, UserId, str, str, str, str, str, float]:
    asked = request_view.asked_for(one.method, one.content.get("params", {}))
    who = (one.room_id, one.sender, words(one.peer))
    return (one.number, *who, one.method, asked, str(one.state), one.outcome, max(0.0, time.time() - one.came))
