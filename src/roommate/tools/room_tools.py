"""What a model can do in one room: the tools, over the room's hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from roommate.errors import SandboxError, ToolError
from roommate.ports import Agents, Emit, Hand, Proposals, Share
from roommate.tools import (
    commands,
    delegation,
    fetch,
    files,
    pull_request,
    screenshot,
    search,
    shell,
    showing,
    testing,
)
from roommate.tools.arguments import (
    Arguments,
    CreatePullRequest,
    Delegated,
    EditFile,
    FetchUrl,
    ListFiles,
    ReadBackground,
    ReadFile,
    RequestRedeploy,
    RunCommand,
    RunTests,
    Search,
    SendFile,
    Shell,
    StopBackground,
    TakeScreenshot,
    WriteFile,
    parse,
    specs,
)
from roommate.tools.outcome import Outcome
from roommate.tools.plain import plain
from roommate.words import ToolCall, ToolResult, ToolSpec

log = logging.getLogger(__name__)

LONGEST_TITLE = 120


class RoomTools:
    """Implements ports.Tools. Calls may run at the same time; those that write files take turns."""

    def __init__(
        self,
        hand: Callable[[], Awaitable[Hand]],
        *,
        command_timeout: float,
        longest_timeout: float,
        keep: int = 16384,
        agents: Agents | None = None,
        share: Share | None = None,
        redeploy: Callable[[str, str], Awaitable[str]] | None = None,
        proposals: Proposals | None = None,
        sees: Callable[[], bool] = lambda: False,
    ) -> None:
        """`hand` brings up the room's hand where needed. Times are seconds: how long a command runs where the model
        does not say, and the most that it may ask for. `keep` is how many bytes of output the model gets. `redeploy`
        puts up a card, given a ref and why, and gives what to tell the model; `sees` says whether it takes
        pictures."""
        self._hand = hand
        self._command_timeout, self._longest_timeout, self._keep = command_timeout, longest_timeout, keep
        self._agents, self._share, self._redeploy, self._proposals = agents, share, redeploy, proposals
        self._sees = sees
        self._writing = asyncio.Lock()
        self._at_the_shell = asyncio.Lock()

    @property
    def specs(self) -> Sequence[ToolSpec]:
        agents = self._agents is not None and bool(self._agents.names)
        return specs(agents=agents, forge=self._proposals is not None, operator=self._redeploy is not None)

    async def call(self, call: ToolCall, emit: Emit) -> ToolResult:
        hand: Hand | None = None
        try:
            asked = parse(call)
            if isinstance(asked, RequestRedeploy):
                return await self._request(call, asked)
            hand = await self._hand()
            outcome = await self._do(call.id, asked, hand, emit)
        except ToolError as error:
            outcome = _failed(str(error))
        except SandboxError as error:
            if hand is None:
                outcome = _failed(f"the room's sandbox cannot be used: {error}")
            else:
                outcome = _failed(f"the sandbox was lost while this ran; whether it was done is not known: {error}")
        except Exception as error:  # a turn must survive whatever a tool does
            log.exception("tool %s failed", call.name)
            outcome = _failed(f"an error within Roommate ({type(error).__name__}); it is in the log of the daemon")
        return ToolResult(call.id, outcome.text, outcome.ok, outcome.title, outcome.picture)

    async def _request(self, call: ToolCall, asked: RequestRedeploy) -> ToolResult:
        if self._redeploy is None:
            raise ToolError("this daemon cannot be redeployed from here: tell the operator")
        return ToolResult(call.id, await self._redeploy(asked.ref or "", asked.why), title="an operator is asked")

    async def _do(self, call_id: str, asked: Arguments, hand: Hand, emit: Emit) -> Outcome:
        match asked:
            case RunCommand():
                return await commands.run(
                    call_id,
                    asked,
                    hand,
                    emit,
                    default=self._command_timeout,
                    longest=self._longest_timeout,
                    keep=self._keep,
                )
            case Shell():
                async with self._at_the_shell:  # the calls of one reply come after each other
                    return await shell.use(
                        call_id,
                        asked,
                        hand,
                        emit,
                        default=self._command_timeout,
                        longest=self._longest_timeout,
                        keep=self._keep,
                    )
            case ReadFile():
                return await files.read(asked, hand, self._keep)
            case WriteFile():
                async with self._writing:
                    return await files.write(asked, hand)
            case EditFile():
                async with self._writing:  # two edits of one file must not both start from the same content
                    return await files.edit(asked, hand)
            case ListFiles():
                return await files.list_files(asked, hand, self._keep)
            case Search():
                return await search.search(asked, hand, self._keep)
            case Delegated():
                return await delegation.delegate(call_id, asked, self._agents, hand, emit, keep=self._keep)
            case RunTests():
                return await testing.test(call_id, asked, hand, emit, longest=self._longest_timeout, keep=self._keep)
            case CreatePullRequest():
                async with self._writing:
                    return await pull_request.create(asked, self._proposals, hand)
            case FetchUrl():
                return await fetch.fetch(asked, hand, self._keep)
            case TakeScreenshot():
                return await screenshot.take(call_id, asked, hand, self._share, self._sees)
            case SendFile():
                return await showing.send(call_id, asked, hand, self._share)
            case ReadBackground():
                return await commands.read(asked, hand, self._keep)
            case StopBackground():
                return await commands.stop(asked, hand, self._keep)
        raise AssertionError(asked)


def _failed(text: str) -> Outcome:
    text = plain(text.encode("utf-8", "replace"))
    title = text.partition("\n")[0]
    return Outcome(text, title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…", ok=False)
