"""What a model can do in one room in one turn: which tools there are, and a call of one."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from roommate.domain import Emit, Hand, ToolCall, ToolResult, ToolSpec
from roommate.errors import SandboxError, ToolError
from roommate.tools import (
    command_tools,
    fetch,
    files,
    persistent_shell_tool,
    screenshot,
    search,
    send_file,
    testing,
    todo,
)
from roommate.tools.arguments import loaded, short
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import sanitized
from roommate.tools.tool import Call, Source, Tool, TurnPorts

log = logging.getLogger(__name__)

LONGEST_TITLE = 120

SOURCES: tuple[Source, ...] = (
    command_tools.TOOLS,
    persistent_shell_tool.TOOLS,
    files.TOOLS,
    search.TOOLS,
    testing.TOOLS,
    fetch.TOOLS,
    screenshot.TOOLS,
    send_file.offered,
    todo.TOOLS,
)
"""The kernel's own tools: a new one is a file of its own, and a line here. Features bring more."""


def offered(ports: TurnPorts, sources: Sequence[Source] = SOURCES) -> Mapping[str, Tool[Any]]:
    """By name, those that a turn has now."""
    found = [one for source in sources for one in (source(ports) if callable(source) else source)]
    return {one.spec.name: one for one in found}


async def load() -> None:
    """Describe the tools that every turn has, one by one: best while an answer of the homeserver is waited for."""
    for one in (one for source in SOURCES if not callable(source) for one in source):
        _ = one.spec
        await asyncio.sleep(0)


class RoomTools:
    """Implements `Tools`. Calls may run at the same time, but for tools that take turns."""

    def __init__(
        self,
        hand: Callable[[], Awaitable[Hand]],
        ports: TurnPorts,
        sources: Sequence[Source] = SOURCES,
        *,
        looks: bool = False,
    ) -> None:
        """`hand` brings up the room's hand where needed. With `looks` there are those tools alone that only look."""
        self._hand, self._ports, self._sources, self._looks = hand, ports, sources, looks
        self._offered = self._found()

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """Asked for as a round begins: these are what there is until the next."""
        self._offered = self._found()
        return [one.spec for one in self._offered.values()]

    def _found(self) -> Mapping[str, Tool[Any]]:
        found = offered(self._ports, self._sources)
        return {name: one for name, one in found.items() if one.looks or not self._looks}

    def title(self, call: ToolCall) -> str:
        if (one := self._offered.get(call.name)) is None:
            return ""
        try:
            given = json.loads(call.arguments)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(given, dict):
            return ""
        return next((_shown(given[name]) for name in one.title if given.get(name)), "")

    def goes_on(self, call: ToolCall) -> bool:
        one = self._offered.get(call.name)
        return one is not None and one.again

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        hand: Hand | None = None
        try:
            one = self._offered.get(call.name)
            if one is None:
                raise ToolError(f"there is no tool {short(call.name)}", f"the tools are {', '.join(self._offered)}")
            asked = one.parse(loaded(one.spec, call.arguments))
            hand = await self._hand() if one.sandbox else None
            outcome = await self._do(one, asked, Call(call.id, emit, self._ports, hand))
        except ToolError as error:
            outcome = _failed(str(error), error.advice)
        except SandboxError as error:
            if hand is None:
                outcome = _failed(f"the room's sandbox cannot be used: {error}")
            else:
                outcome = _failed(f"the sandbox was lost while this ran; whether it was done is not known: {error}")
        except Exception as error:  # a turn must survive whatever a tool does
            log.exception("tool %s failed", call.name)
            outcome = _failed(f"an error within Roommate ({type(error).__name__}); it is in the log of the daemon")
        return ToolResult(call.id, outcome.text, outcome.ok, outcome.title, outcome.picture, outcome.diff)

    async def _do(self, one: Tool[Any], asked: Any, call: Call) -> Outcome:
        if not one.turns:
            return await one.do(asked, call)
        async with self._ports.locks[one.turns]:
            return await one.do(asked, call)


def _failed(text: str, advice: str = "") -> Outcome:
    """The last line, in brackets, is not shown to people."""
    text = sanitized(text.encode("utf-8", "replace"))
    title = text.partition("\n")[0]
    text += f"\n[{sanitized(advice.encode('utf-8', 'replace'))}]" if advice else ""
    return Outcome(text, title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…", ok=False)


def _shown(value: object) -> str:
    """A program and its arguments as one would type them."""
    return shlex.join(map(str, value)) if isinstance(value, list) else str(value)
