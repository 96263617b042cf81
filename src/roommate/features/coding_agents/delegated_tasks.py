"""The coding agents of one room: who takes a task, in which session, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from roommate.domain import IN_TURN, AgentReport, Clock, Emit, Exit, Hand, RoomId
from roommate.errors import ToolError
from roommate.features.coding_agents.agent_clis import AGENT_CLIS, AgentCli
from roommate.features.coding_agents.json_lines import Lines
from roommate.features.coding_agents.run_recorder import Account
from roommate.features.coding_agents.task_prompt import brief
from roommate.text.amounts import grouped

NAMES = 1000
"""Bytes of the names of programs that are there."""
LONGEST_TASK = 100_000
"""Bytes: Linux takes 128 KiB as one argument of a program."""
FOLDER = ".roommate/agents"
"""In the workspace: transcripts, and what the agents complain about on stderr."""

NOT_INSTALLED = "is not installed in the room's image"
HOW_TO_GET = (
    "An operator runs `roommate image build --stage agents` on the host, and sets a key, such as `GEMINI_API_KEY`"
)

ROLE = "ROOMMATE_ROLE"
"""In its environment: the hooks keep one that is to look only from changing files."""

_START = """\
mkdir -p "${0%/*}" && { [ -e .roommate/.gitignore ] || echo '*' >.roommate/.gitignore; } && exec "$@" 2>"$0"
"""
"""Keeps stderr out of the event stream; its first argument is the file that takes it."""
_WHICH = 'for program; do command -v "$program" >/dev/null && echo "$program"; done; true'


class AgentStore(Protocol):
    """Where a room's choice of coding agents, and its conversations' sessions with them, are kept."""

    async def preferred(self, room_id: RoomId, role: str) -> tuple[str, ...]:
        """Empty where the room has chosen none."""
        ...

    async def session(self, conversation_id: int, agent: str) -> str:
        """The one to go on with; empty for none."""
        ...

    async def keep_session(self, conversation_id: int, agent: str, session: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What an operator has set: the providers that there is a key for, whom to ask first in a role, which models."""

    keyed: Collection[str]
    preferred: Mapping[str, Sequence[str]]
    """By role."""
    models: Mapping[str, str]
    """By agent."""
    seconds: float
    """Longest that one run may take."""


class RoomAgents:
    """As one turn uses them. Runs of one agent come after each other, since they go on with one session:
    that of the conversation, so that other turns of the room may ask the same agent meanwhile."""

    def __init__(
        self,
        room_id: RoomId,
        choice: Choice,
        log: AgentStore,
        conversation: int = 0,
        turn: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without a turn it says who is there."""
        self._room_id, self._choice, self._log, self._clock = room_id, choice, log, clock
        self._conversation, self._turn = conversation, turn
        self._turns = {name: asyncio.Lock() for name in AGENT_CLIS}

    @property
    def names(self) -> Sequence[str]:
        """Those that can be asked, as far as is known: there is a key for them."""
        return [name for name, cli in AGENT_CLIS.items() if cli.provider in self._choice.keyed]

    async def work(self, role: str, task: str, agent: str, *, hand: Hand, call_id: str, emit: Emit) -> AgentReport:
        """Give a task to the agent of this name, or with "" to the first that is there for this role: ``plan``,
        ``review``, ``implement``, ``ask``. Emits ToolOutput and ToolStep. Raises ToolError when there is none."""
        if len(task.encode("utf-8", "replace")) > LONGEST_TASK:
            raise ToolError(
                f"the task is longer than {LONGEST_TASK} bytes", "put the long part into a file and name it"
            )
        cli, passed_over = await self._take(role, agent, hand)
        async with self._turns[cli.name]:
            report = await self._work(cli, role, brief(role, task), hand, call_id, emit)
        if not passed_over:
            return report
        text = f"{report.text}\n\n[{'; '.join(passed_over)}: {cli.name} did it]"
        return AgentReport(report.agent, report.ok, text, report.how, report.transcript)

    async def missing(self, hand: Hand) -> dict[str, str]:
        """Why not, of each agent that cannot be asked."""
        there = b""

        def take(piece: bytes) -> None:
            nonlocal there
            there = (there + piece)[:NAMES]

        programs = [cli.program for cli in AGENT_CLIS.values()]
        await hand.run(["sh", "-c", _WHICH, "sh", *programs], timeout=20, on_output=take)
        installed = there.decode("utf-8", "replace").split()
        why = {}
        for cli in AGENT_CLIS.values():
            if cli.program not in installed:
                why[cli.name] = f"{cli.name} {NOT_INSTALLED}"
            elif cli.provider not in self._choice.keyed:
                why[cli.name] = f"{cli.name} has no key: an operator sets {cli.provider.upper()}_API_KEY"
        return why

    async def _take(self, role: str, agent: str, hand: Hand) -> tuple[AgentCli, list[str]]:
        """Who does it, and why those before did not."""
        if agent and agent not in AGENT_CLIS:
            raise ToolError(f"there is no agent {agent[:40]!r}; there are {', '.join(AGENT_CLIS)}")
        wanted = (agent,) if agent else await self._preferred(role)
        missing = await self.missing(hand)
        passed_over: list[str] = []
        for name in wanted:
            if name not in missing:
                return AGENT_CLIS[name], passed_over
            passed_over.append(missing[name])
        how = f". {HOW_TO_GET}" if len(missing) == len(AGENT_CLIS) else ""
        raise ToolError("; ".join(passed_over) + how, "" if role == "ask" else "do it with your own tools, and say so")

    async def _preferred(self, role: str) -> Sequence[str]:
        """First the room's or the operator's, then whoever is there."""
        role = "implement" if role == "ask" else "plan" if role == "review" else role
        chosen = await self._log.preferred(self._room_id, role) or self._choice.preferred[role]
        return list(dict.fromkeys([*chosen, *self.names])) or list(AGENT_CLIS)

    async def _work(self, cli: AgentCli, role: str, prompt: str, hand: Hand, call_id: str, emit: Emit) -> AgentReport:
        session = await self._log.session(self._conversation, cli.name)
        account = Account(call_id, emit)
        ended = await self._run(cli, role, prompt, session, hand, account)
        if session and not account.session and not ended.timed_out and ended.code != 0:
            account = Account(call_id, emit)  # it does not know the session: its files are gone, most likely
            ended = await self._run(cli, role, prompt, "", hand, account)
        if account.session and account.session != session:
            await self._log.keep_session(self._conversation, cli.name, account.session)
        wrong = await _wrong(cli, account, ended, hand, self._errors(cli))
        transcript = f"{FOLDER}/{time.strftime('%Y%m%d-%H%M%S')}-{self._turn}-{cli.name}.md"
        content = f"# {cli.title}\n\n{prompt}\n{account.transcript}".encode("utf-8", "replace")
        try:
            await hand.write(transcript, content)
        except ToolError as error:  # a full disk, most likely: what it says in the end counts still
            wrong = f"{wrong}\n\nIts transcript could not be kept: {error}".strip()
        text = "\n\n".join(part for part in (account.answer, wrong) if part) or "(it said nothing)"
        if account.changed:
            text += f"\n\n[files written: {', '.join(list(account.changed)[:50])}]"
        return AgentReport(cli.name, not wrong, text, _how(cli, account, ended), transcript)

    async def _run(self, cli: AgentCli, role: str, prompt: str, session: str, hand: Hand, account: Account) -> Exit:
        model = self._choice.models.get(cli.name, cli.model)
        lines = Lines()

        def take(piece: bytes) -> None:
            for line in lines.feed(piece):
                for event in cli.read(line):
                    account.take(event)

        command = cli.command(prompt, model, session)
        ended = await hand.run(
            ["sh", "-c", _START, self._errors(cli), *command],
            env={**cli.environment_of(model), ROLE: role, IN_TURN: f"{self._turn}"},
            timeout=self._choice.seconds,
            on_output=take,
            clock=self._clock,
        )
        for line in lines.end():
            for event in cli.read(line):
                account.take(event)
        return ended

    def _errors(self, cli: AgentCli) -> str:
        """The file of what it says on stderr: no other run writes there meanwhile."""
        return f"{FOLDER}/{cli.name}-{self._conversation}.stderr"


async def _wrong(cli: AgentCli, account: Account, ended: Exit, hand: Hand, errors: str) -> str:
    """What went wrong, in words; empty when nothing did."""
    if ended.timed_out:
        return f"{cli.name} was stopped after {ended.seconds:.0f} s; asked again it goes on where it was."
    if ended.code == 0 and not account.error:
        return ""
    why = account.error or account.complaint
    if not why:
        size = (await hand.read(errors, limit=0)).size
        content = (await hand.read(errors, max(0, size - 2000), 2000)).content
        why = content.decode("utf-8", "replace").strip() or f"exit code {ended.code}"
    return f"{cli.name} failed: {why}"


def _how(cli: AgentCli, account: Account, ended: Exit) -> str:
    count = account.usage.input_tokens + account.usage.output_tokens
    parts = [cli.name, f"{account.calls} call{'' if account.calls == 1 else 's'}", f"{ended.seconds:.1f} s"]
    if account.changed:
        parts.append(f"{len(account.changed)} file{'' if len(account.changed) == 1 else 's'} written")
    if count:
        parts.append(f"{grouped(count)} tokens")
    return " · ".join(parts)
