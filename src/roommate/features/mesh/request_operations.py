"""What operators look at and end of the requests between this daemon and its peers, whoever asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import JsonObject, RoomId, UserId
from roommate.errors import Misused, NotFound
from roommate.features.mesh import request_view
from roommate.features.mesh.asking import Asking
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.refusals import Code
from roommate.features.mesh.running_requests import RunningRequests
from roommate.operations import Call, Params, Table, operation
from roommate.store import PeerRequest, PeerRequests
from roommate.store.mesh_asked import Asked
from roommate.text.amounts import age
from roommate.text.printable import one_line, plain, printable

SHOWN = 50
IN, OUT = "in", "out"
TAIL = 8
"""Characters of the id of one of ours that are shown, and at least as many as half of them name it."""
LEAST = 4


class Named(Params):
    request: Annotated[
        str,
        Field(
            title="ID",
            min_length=1,
            max_length=26,
            description="As `requests ls` shows it; of one that this daemon has asked its beginning or end is enough.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Listed:
    """`direction` is ``in`` for what a peer asks of this daemon, whose `id` is a number, and ``out`` for what this one
    asks of a peer, whose `id` is a ULID. `peer` is the peer's account, `words` are those of its key. `seconds` is how
    long ago it came or was asked; `state` is ``held``, ``accepted``, ``sent``, ``running`` or ``done``; `outcome` of
    one that is done ``result``, ``lost``, or why it was refused."""

    id: str
    direction: str
    room_id: RoomId
    peer: UserId
    words: str
    method: str
    asked: str
    state: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown(Listed):
    """`who` is on whose behalf this daemon asks, or what of its policy and who of its people decided; `result` is the
    last that was replied."""

    who: str
    digest: str
    result: JsonObject | None


def _table(found: Sequence[Listed]) -> Table | str:
    rows = [
        (
            *(one.id[-TAIL:], "→ out" if one.direction == OUT else "← in", age(one.seconds), one.peer, one.room_id),
            *(one.outcome or one.state, one_line(one.asked, 60)),
        )
        for one in found
    ]
    heads = ("request", "way", "age", "peer", "room", "state", "asks")
    return Table(rows, heads) if rows else "no daemon has asked this one for anything, nor this one another"


def _whole(one: Shown) -> str:
    ours = one.direction == OUT
    lines = (
        ("request", f"{one.id}, {one.method}, {age(one.seconds)} ago"),
        ("to" if ours else "from", f"{one.peer} ({one.words})"),
        ("room", one.room_id),
        ("state", one.outcome or one.state),
        ("for" if ours else "decided", one.who),
        ("digest", one.digest),
        ("result", str(one.result) if one.result else ""),
    )
    return printable("\n".join([*(f"{name:8} {what}" for name, what in lines if what), "", one.asked]))


@dataclass(frozen=True, slots=True)
class RequestOperations:
    requests: PeerRequests
    running: RunningRequests
    asking: Asking

    @operation("requests.list", terminal=_table, cli="requests ls")
    async def list(self, params: Params, call: Call) -> Sequence[Listed]:
        """Shows what peers have asked of this daemon, and what it has asked of them, the newest first."""
        came = [_incoming(one) for one in await self.requests.newest(SHOWN)]
        asked = [_outgoing(one) for one in await self.asking.newest(SHOWN)]
        return [Listed(*facts) for facts in sorted((*came, *asked), key=lambda facts: facts[-1])[:SHOWN]]

    @operation("requests.show", terminal=_whole, cli="requests show")
    async def show(self, params: Named, call: Call) -> Shown:
        """Shows one of them whole."""
        one = await self._find(params.request)
        if isinstance(one, Asked):
            return Shown(*_outgoing(one), one.who, one.digest, one.result)
        return Shown(*_incoming(one), " ".join(filter(None, (one.line, one.decided_by))), one.digest, one.result)

    @operation(
        "requests.cancel",
        audit="mesh.cancel",
        subject=lambda params: params.request,
        cli="requests cancel",
    )
    async def cancel(self, params: Named, call: Call) -> str:
        """Ends one that is held or runs, here or at the peer."""
        one = await self._find(params.request)
        if isinstance(one, Asked):
            if not await self.asking.cancel(one.id):
                raise NotFound(f"request {params.request} is over already")
            return f"{plain(one.peer_name)} is told to end request {plain(one.id)}."
        if not await self.running.stop(one, Code.CANCELLED):
            raise NotFound(f"request {params.request} is over already")
        return f"Request {plain(params.request)} is ended."

    async def _find(self, id: str) -> PeerRequest | Asked:
        """Raises NotFound, Misused."""
        if id.isascii() and id.isdecimal() and len(id) < 18 and (came := await self.requests.get(int(id))):
            return came
        asked = await self.asking.called(id) if len(id) >= LEAST else []
        if len(asked) > 1:
            raise Misused(f"{len(asked)} requests are called {id}: write more of it")
        if not asked:
            raise NotFound(f"there is no request {id}: `roommate requests ls` shows those that are")
        return asked[0]


Facts = tuple[str, str, RoomId, UserId, str, str, str, str, str, float]
"""The fields of `Listed`."""


def _incoming(one: PeerRequest) -> Facts:
    asked = request_view.asked_for(one.method, one.content.get("params", {}))
    who = (one.room_id, one.sender, words(one.peer))
    return (str(one.number), IN, *who, one.method, asked, str(one.state), one.outcome, _ago(one.came))


def _outgoing(one: Asked) -> Facts:
    result = one.result or {}
    asked = request_view.asked_for(one.method, one.params)
    who = (one.room_id, one.peer_user, words(one.peer))
    outcome = str(result.get("code", result.get("kind", "")))
    return (one.id, OUT, *who, one.method, asked, str(one.state), outcome, _ago(one.asked))


def _ago(when: float) -> float:
    return max(0.0, time.time() - when)
