"""The look of a turn: its events folded into what one message shows, while it runs and when it has ended."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from roommate.chat.texts import seconds, spent
from roommate.domain import (
    NO_USAGE,
    Event,
    HookEvent,
    HookKind,
    Note,
    Said,
    Spent,
    TextDelta,
    TextDropped,
    ToolFinished,
    ToolOutput,
    ToolResult,
    ToolStarted,
    ToolStep,
    Usage,
)
from roommate.text.printable import block, span

LIVE_TEXT = 8000
"""Characters of streamed text that a live message shows: its end is what is new."""

LIVE_OUTPUT_LINES = 8
LIVE_OUTPUT_TEXT = 1200
LIVE_STEPS = 12
LABEL = 100
LIVE_WITHIN = 5
"""Steps within a running tool that a live message shows: its newest."""

_MARKS = {None: "▶", True: "✔", False: "✘"}
MOST_HOOKED = 100
"""Notices and sessions of hooks that a turn remembers: a room may make hundreds a second."""
LIVE_CALLS = 4
"""Calls of a coding agent that a live message shows: its newest."""


@dataclass(slots=True)
class _Tool:
    label: str
    output: str = ""
    result: ToolResult | None = None
    steps: dict[str, ToolStep] = field(default_factory=dict)
    """The newest steps within it, by key."""

    def step(self, step: ToolStep) -> None:
        self.steps[step.key] = step
        while len(self.steps) > LIVE_WITHIN:
            del self.steps[next(iter(self.steps))]

    def within(self) -> list[str]:
        """Its steps as Markdown: a list, then the newest diff."""
        steps = self.steps.values()
        lines = [f"- {_MARKS[step.ok]} **{plain(step.what) or '?'}** {_subject(step.subject)}" for step in steps]
        diffs = [step.diff for step in steps if step.diff]
        newest = block("\n".join(diffs[-1].splitlines()[:LIVE_OUTPUT_LINES]), "diff") if diffs else ""
        return [part for part in ("\n".join(lines), newest) if part]

    def line(self) -> str:
        if self.result is None:
            return f"▶ {self.label}"
        mark = "✔" if self.result.ok else "✘"
        title = self.result.title.replace("`", "'")
        return f"{mark} {self.label}" + (f" — {title}" if title else "")


@dataclass(slots=True)
class _Agent:
    """A coding agent's session, as its hooks tell of it."""

    name: str
    calls: list[HookEvent] = field(default_factory=list)
    """The newest, each as its newest hook told it."""
    count: int = 0
    result: HookEvent | None = None

    def apply(self, event: HookEvent) -> None:
        if event.kind is HookKind.RESULT:
            self.result = event
            return
        self.result = None  # it goes on
        if event.kind is HookKind.PROGRESS and not event.tool and not event.summary:
            return
        if (at := self._same(event)) is not None:
            self.calls[at] = event
        else:
            self.calls = [*self.calls[1 - LIVE_CALLS :], event]
            self.count += bool(event.tool)

    def _same(self, event: HookEvent) -> int | None:
        """Where the call is that this is more of. Calls may run side by side, and Claude tells twice of one that
        failed."""
        for at in range(len(self.calls) - 1, -1, -1):
            call = self.calls[at]
            same = (call.tool, call.summary) == (event.tool, event.summary)
            if same and (call.ok is None or event.ok is not None):
                return at
        return None

    def line(self) -> str:
        calls = f" · {self.count} call{'' if self.count == 1 else 's'}" if self.count else ""
        if self.result is None:
            return f"▶ **{self.name}**{calls}"
        mark = "✘" if self.result.ok is False else "✔"
        return f"{mark} **{self.name}**{calls}" + _told(self.result)

    def recent(self) -> str:
        return "\n".join(f"- {_mark(call)} {hook_call(call)}{_told(call, short=True)}" for call in self.calls)


@dataclass(frozen=True, slots=True)
class _Notice:
    """What a hook told."""

    text: str

    def line(self) -> str:
        return self.text


class View:
    """Folds a turn's events. Times are seconds on any one clock."""

    def __init__(self, began: float, usage: Usage = NO_USAGE) -> None:
        self._began = began
        self._usage = usage
        self._text = ""
        self._done: list[str | _Tool | _Agent | _Notice] = []
        self._hooked: deque[_Notice | _Agent] = deque()
        self._forgotten = 0
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._notes: list[str] = []
        self._running: dict[str, _Tool] = {}

    def apply(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._text += text
            case TextDropped(why):
                self._text = ""
                self._notes.append(why)
            case Said(text):
                self._text = ""
                if text.strip():
                    self._done.append(text.strip())
            case ToolStarted(call, title):
                self._running[call.id] = started = _Tool(label(call.name, title))
                self._done.append(started)
            case ToolOutput(call_id, text):
                if tool := self._running.get(call_id):
                    tool.output = (tool.output + text)[-LIVE_OUTPUT_TEXT:]
            case ToolStep(call_id):
                if tool := self._running.get(call_id):
                    tool.step(event)
            case ToolFinished(result):
                if ended := self._running.pop(result.call_id, None):
                    ended.result = result
                    ended.output = ""
                    ended.steps.clear()
            case Spent(usage):
                self._usage += usage
            case Note(text):
                self._notes.append(text)
            case HookEvent(kind=HookKind.NOTIFICATION):
                self._hook(_Notice(hook_notice(event)))
            case HookEvent(agent=name, session=session):
                if (name, session) not in self._agents:
                    self._agents[name, session] = agent = _Agent(plain(name) or "hook")
                    self._hook(agent)
                self._agents[name, session].apply(event)

    def _hook(self, told: _Notice | _Agent) -> None:
        """Something new that hooks tell of; the oldest of it is forgotten for that."""
        self._done.append(told)
        self._hooked.append(told)
        if len(self._hooked) > MOST_HOOKED:
            oldest = self._hooked.popleft()
            del self._done[next(at for at, item in enumerate(self._done) if item is oldest)]
            self._agents = {key: agent for key, agent in self._agents.items() if agent is not oldest}
            self._forgotten += 1

    @property
    def empty(self) -> bool:
        """Nothing to show yet but that something goes on."""
        return not (self._text or self._done or self._notes)

    def live(self, now: float) -> str:
        """Markdown of the turn as it stands: the steps, what runs now with its newest output, the text so far."""
        hidden = max(0, len(self._done) - LIVE_STEPS) + self._forgotten
        parts = [f"⚙️ *working · {seconds(now - self._began)}*" + (f" *· {hidden} more before*" if hidden > 0 else "")]
        parts += [f"ℹ️ {note}" for note in self._notes]
        for item in self._done[-LIVE_STEPS:]:
            if isinstance(item, str):
                parts.append(_end(item, LIVE_TEXT // 8))
            elif isinstance(item, _Notice):
                parts.append(_end(item.text, LIVE_TEXT // 8))
            elif isinstance(item, _Agent):
                parts.append(item.line())
                if item.result is None and item.calls and not any(tool.steps for tool in self._running.values()):
                    parts.append(item.recent())
            else:
                parts.append(item.line())
                parts += item.within()
                if item.output:
                    parts.append(block("\n".join(item.output.splitlines()[-LIVE_OUTPUT_LINES:])))
        if self._text:
            parts.append(_end(self._text, LIVE_TEXT))
        return "\n\n".join(parts)

    def details(self, now: float, *, answered: bool) -> tuple[str, str] | None:
        """How the turn went: a line that sums up, and the steps as Markdown. None where there is nothing to tell.

        `answered`: the last text is the answer, which is shown elsewhere.
        """
        tools = [item for item in self._done if isinstance(item, _Tool)]
        if not tools and not self._notes and not self._agents:
            return None
        steps = f"{len(tools)} step{'' if len(tools) == 1 else 's'}"
        summary = f"{steps} · {seconds(now - self._began)}"
        if self._usage != NO_USAGE:
            summary += f" · {spent(self._usage)}"
        said = self._done[:-1] if answered and self._done and isinstance(self._done[-1], str) else self._done
        rows = [f"ℹ️ {note}" for note in self._notes]
        rows += [item if isinstance(item, str) else item.line() for item in said]
        rows = [row.replace(_MARKS[None], "⏹", 1) if row.startswith(_MARKS[None]) else row for row in rows]
        return summary, "\n\n".join(rows)


def hook_call(event: HookEvent) -> str:
    """What a coding agent does, in one short line."""
    said = [f"**{plain(event.tool)}**"] if event.tool else []
    if event.summary:
        said.append(span(" ".join(event.summary.split())[:LABEL]) if event.tool else plain(event.summary))
    return " ".join(said) or "something"


def hook_notice(event: HookEvent) -> str:
    """A hook's event in one line that stands alone."""
    who = f"**{plain(event.agent) or 'hook'}**"
    if event.kind is HookKind.RESULT:
        return f"{_mark(event)} {who}{_told(event) or ' is done'}"
    title = f" {plain(event.summary)}:" if event.summary and event.text else ""
    return f"🔔 {who}:{title} {plain(_first_line(event.text) or event.summary) or 'wants your attention'}"


def plain(text: str) -> str:
    """Text of a stranger on one line of Markdown: what would mean something there means nothing."""
    return re.sub(r"([\\`*\[\]<>~|&]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def _mark(event: HookEvent) -> str:
    if event.kind is HookKind.APPROVAL:
        return "❓"
    return {None: "▶", True: "✔", False: "✘"}[event.ok if event.kind is HookKind.PROGRESS else event.ok is not False]


def _told(event: HookEvent, *, short: bool = False) -> str:
    """How it went and, unless `short`, what it gave."""
    facts = [f"exit {event.exit_code}"] if event.exit_code else []
    if event.seconds is not None and event.seconds >= 0.1:
        facts.append(seconds(event.seconds))
    if not short and (text := _first_line(event.text) or event.summary):
        facts.append(plain(text))
    return f" — {' · '.join(facts)}" if facts else ""


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 3 * LABEL else line[: 3 * LABEL] + "…"


def label(name: str, title: str) -> str:
    """A call in one short line: the tool and what it is about."""
    name = name.replace("`", "'")[:40]
    return f"**{name}** {_subject(title)}".rstrip()


def _subject(text: str) -> str:
    text = " ".join(text.split())
    return span(text if len(text) <= LABEL else text[: LABEL - 1] + "…") if text else ""


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-most:]
