"""``call``: a tool of the room, as its model has them, for a peer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from roommate.domain import JsonObject, ToolCall
from roommate.features.mesh.methods import Method, Shape, Work
from roommate.features.mesh.output_pieces import PIECE, sending
from roommate.host import deadlines
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.tools.room_tools import RoomTools, offered
from roommate.tools.tool import TurnPorts

MOST_DESCRIBED = 24 * 1024
"""Bytes of what is said of the tools: a reply has to fit into one event."""


class Called(Shape):
    tool: Annotated[str, Field(max_length=64)]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict)]


def call_method(sandboxes: Sandboxes) -> Method[Called]:
    async def do(params: Called, work: Work) -> JsonObject:
        ports = TurnPorts(command_timeout=work.seconds, longest_timeout=work.seconds)
        tools = RoomTools(lambda: sandboxes.hand(work.room_id), ports)
        call = ToolCall(work.request.id, params.tool, json.dumps(params.arguments))
        async with sending(work) as pieces:
            try:
                async with deadlines.within(work.seconds):
                    result = await tools.call(call, lambda _: None)
            except TimeoutError:
                return {"ok": False, "text": f"it was ended after {work.seconds} s"}
            text = result.text.encode(errors="replace")
            if long := len(text) > PIECE:
                pieces.take("out", text)
        return {"ok": result.ok, "text": "" if long else text.decode()}

    return Method("call", Called, do)


def described_tools() -> Callable[[], Sequence[JsonObject]]:
    """What ``who`` tells of them; of those that fit into its reply."""

    def describe() -> Sequence[JsonObject]:
        found: list[JsonObject] = []
        left = MOST_DESCRIBED
        for one in offered(TurnPorts(command_timeout=0, longest_timeout=0)).values():
            said = {"name": one.spec.name, "description": one.spec.description, "schema": one.spec.parameters}
            left -= len(json.dumps(said))
            found.append(said if left > 0 else {"name": one.spec.name, "description": "", "schema": {}})
        return found

    return describe
