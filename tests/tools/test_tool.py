"""A tool as an object: offered or not from round to round, with a sandbox or without, one after the other or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

from roommate.domain import Event, Hand, JsonObject, TextDelta, ToolCall, ToolResult, ToolSpec
from roommate.errors import SandboxError, ToolError
from roommate.tools import RoomTools, TurnPorts
from roommate.tools.arguments import Arguments
from roommate.tools.outcome import Outcome
from roommate.tools.tool import Call, Source, Tool, tool

PORTS = TurnPorts(command_timeout=1, longest_timeout=1)
HAND = cast(Hand, object())


class Nothing(Arguments):
    """Do nothing."""


async def there() -> Hand:
    return HAND


async def away() -> Hand:
    raise SandboxError("there is no Podman")


async def call(tools: RoomTools, name: str, events: list[Event] | None = None, **arguments: object) -> ToolResult:
    heard = [] if events is None else events
    return await tools.call(ToolCall("1", name, json.dumps(arguments)), heard.append)


async def test_tools_whose_arguments_others_describe_come_and_go_between_two_rounds() -> None:
    """As those of a server that is asked what it has."""
    asked: list[JsonObject] = []

    async def do(given: JsonObject, call: Call) -> Outcome:
        if "deep" not in given:
            raise ToolError("say how deep")
        asked.append(given)
        call.emit(TextDelta("digging"))
        return Outcome("a worm", "1 worm")

    schema = {"type": "object", "properties": {"deep": {"type": "object"}}}
    spec = ToolSpec("garden_dig", "Dig.", schema)
    dig = Tool(lambda: spec, lambda given: given, do, title=("where",), sandbox=False)
    served: list[Tool[Any]] = []
    sources: Sequence[Source] = [lambda _: served]
    tools = RoomTools(away, PORTS, sources)
    assert [spec.name for spec in tools.specs] == []
    assert "there is no tool `garden_dig`" in (await call(tools, "garden_dig")).text
    served.append(dig)
    assert tools.specs == [dig.spec]
    events: list[Event] = []
    result = await call(tools, "garden_dig", events, deep={"cm": [5]}, where="left")
    assert (result.text, result.title, result.ok, events) == ("a worm", "1 worm", True, [TextDelta("digging")])
    assert asked == [{"deep": {"cm": [5]}, "where": "left"}]
    assert "say how deep" in (await call(tools, "garden_dig")).text
    assert tools.title(ToolCall("1", "garden_dig", '{"where": "left"}')) == "left"
    for other in (ToolCall("1", "garden_dig", "{"), ToolCall("1", "garden_dig", "[]"), ToolCall("1", "gone", "{}")):
        assert tools.title(other) == ""
    served.clear()
    assert tools.specs == []


async def test_only_a_tool_that_needs_the_sandbox_starts_it() -> None:
    async def do(asked: Nothing, call: Call) -> Outcome:
        return Outcome("done", "done")

    tools = RoomTools(away, PORTS, [[tool("inside", Nothing, do), tool("outside", Nothing, do, sandbox=False)]])
    assert "there is no Podman" in (await call(tools, "inside")).text
    assert (await call(tools, "outside")).ok
    assert "there is no argument `x`" in (await call(tools, "inside", x=1)).text, "nothing is started for a mistake"


async def test_tools_of_one_word_take_turns_and_others_do_not() -> None:
    running: list[str] = []
    most: dict[str, int] = {}

    def named(name: str, turns: str) -> Tool[Nothing]:
        async def do(asked: Nothing, call: Call) -> Outcome:
            running.append(turns)
            most[turns] = max(most.get(turns, 0), running.count(turns))
            await asyncio.sleep(0)
            running.remove(turns)
            return Outcome("", "done")

        return tool(name, Nothing, do, turns=turns)

    tools = RoomTools(there, PORTS, [[named("write", "files"), named("edit", "files"), named("look", "")]])
    await asyncio.gather(*(call(tools, name) for name in ("write", "edit", "look", "look") * 3))
    assert most == {"files": 1, "": 6}
