"""The look of a turn: its events folded into what one message shows, while it runs and when it has ended."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from roommate.chat import todo_view
from roommate.chat.step_view import COMMANDS, LABEL, MARKS, Tool
from roommate.chat.texts import seconds, spent
from roommate.domain import (
    ASK_PERSON,
    NO_USAGE,
    TODO,
    Asked,
    Event,
    HookEvent,
    HookKind,
    Note,
    Said,
    Settled,
    Spent,
    Steered,
    TextDelta,
    TextDropped,
    Thinking,
    TodoItem,
    ToolFinished,
    ToolOutput,
    ToolResult,
    ToolStarted,
    ToolStep,
    Usage,
    todo_items,
)
from roommate.text.printable import plain, span

THOUGHT, ARGUMENTS = 400, 600
"""Characters of a thought, its newest, and of what a tool is given, where people want to see them."""
LIVE_TEXT = 8000
"""Characters of streamed text that a live message shows: its end is what is new."""

LIVE_STEPS = 4
"""Steps that are over which a live message shows, its newest: on a phone the running one stays in sight."""
LIVE_RUNNING = 6
DETAILS = 5500
"""Characters of a turn's details: what stands behind a step is left out of the oldest first."""
MOST_HOOKED = 100
"""Notices and sessions of hooks that a turn remembers: a room may make hundreds a second."""
_NUMBER = re.compile(r"\d+")
LIVE_CALLS = 4
"""Calls of a coding agent that a live message shows: its newest."""


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


@dataclass(slots=True)
class _Line:
    """What somebody has said to the turn meanwhile."""

    sender: str
    text: str
    name: str = ""
    """Markdown: what people call them; until that is known, the local part of their id."""

    def line(self) -> str:
        return f"↪ **{self.name or plain(_local_part(self.sender))}**: {plain(_first_line(self.text))}"


_Item = str | Tool | _Agent | _Notice | _Line


class View:
    """Folds a turn's events. Times are seconds on any one clock."""

    def __init__(self, began: float, usage: Usage = NO_USAGE) -> None:
        self._began = began
        self._usage = usage
        self._text = ""
        self._done: list[_Item] = []
        self.unnamed: list[_Line] = []
        """Lines whose senders' names are to be found out, by who draws this."""
        self._hooked: deque[_Notice | _Agent] = deque()
        self._forgotten = 0
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._todo: Sequence[TodoItem] = ()
        self._notes: list[str] = []
        self.verbose = False
        """The words of thoughts and of tools' arguments are shown."""
        self._thought = ""
        """The end of what it thinks, as long as it does."""
        self._thinks = False
        self._thinks_since: float | None = None
        """When that was first to be shown."""
        self._running: dict[str, Tool] = {}
        self._asked: dict[int, Asked] = {}

    def apply(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._text += text
                self._thinks = False
                self._think_aloud()
            case Thinking(text):
                self._thinks = True
                self._thought = (self._thought + text)[-THOUGHT:] if self.verbose else ""
            case TextDropped(why):
                self._text = ""
                if why:
                    self._note(why)
            case Said(text):
                self._text, self._thinks = "", False
                self._think_aloud()
                if text.strip():
                    self._done.append(text.strip())
            case ToolStarted(call, title):
                self._running[call.id] = started = Tool(call.name, title)
                started.arguments = call.arguments[:ARGUMENTS] if self.verbose else ""
                if call.name not in (TODO, ASK_PERSON):
                    self._done.append(started)
            case ToolOutput(call_id, text):
                if tool := self._running.get(call_id):
                    tool.printed(text)
            case ToolStep(call_id):
                if tool := self._running.get(call_id):
                    tool.step(event)
            case ToolFinished(result):
                if ended := self._running.pop(result.call_id, None):
                    ended.finish(result)
                    if ended.name == ASK_PERSON:  # as long as it ran, the first line said what is asked
                        self._done.append(ended)
                    if ended.name == TODO and result.ok:
                        self._todo = todo_items(result.text.splitlines())
            case Spent(usage):
                self._usage += usage
            case Note(text):
                self._note(text)
            case Asked(card):
                self._asked[card] = event
            case Settled(card):
                self._asked.pop(card, None)
            case Steered(said):
                self._done.append(line := _Line(said.sender, said.text))
                self.unnamed.append(line)
            case HookEvent(kind=HookKind.NOTIFICATION):
                self._hook(_Notice(hook_notice(event)))
            case HookEvent(agent=name, session=session):
                if (name, session) not in self._agents:
                    self._agents[name, session] = agent = _Agent(plain(name) or "hook")
                    self._hook(agent)
                self._agents[name, session].apply(event)

    def _think_aloud(self) -> None:
        """A thought is over: its end stays to be seen."""
        if self._thought.strip():
            self._done.append(_thought(self._thought))
        self._thought = ""

    def _note(self, text: str) -> None:
        """One that says what the one before it says, but for its numbers, takes its place: a third try is no
        third line."""
        if self._notes and _NUMBER.sub("", self._notes[-1]) == _NUMBER.sub("", text):
            self._notes.pop()
        self._notes.append(text)

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
        return not (self._text or self._done or self._notes or self._todo)

    def stop(self) -> Sequence[ToolResult]:
        """People end the turn: what it said so far stays, and a result for each call that runs."""
        self.apply(Said(self._text))
        stopped = [tool.stop(call_id) for call_id, tool in self._running.items()]
        self._done += [tool for tool in self._running.values() if tool.name == ASK_PERSON]
        self._running.clear()
        return stopped

    def live(self, now: float) -> str:
        """Markdown of the turn as it stands: the newest steps, what runs with its newest output, the text so far."""
        running = [item for item in self._done if _runs(item)][-LIVE_RUNNING:]
        newest = {id(item) for item in [item for item in self._done if not _runs(item)][-LIVE_STEPS:] + running}
        hidden = len(self._done) - len(newest) + self._forgotten
        self._thinks_since = (self._thinks_since or now) if self._thinks else None
        does = f"💭 *thinking · {seconds(now - self._thinks_since)}*" if self._thinks_since else ""
        does = does or f"⚙️ *working · {seconds(now - self._began)}*"
        if self._asked:
            about = ", ".join(
                f"[{plain(one.about)}]({one.link})" if one.link else plain(one.about) for one in self._asked.values()
            )
            does = f"⏸ **waits for your answer:** {about} *· {seconds(now - self._began)}*"
        head = does + (f" *· {hidden} more before*" if hidden else "")
        parts = [head, *(f"ℹ️ {note}" for note in self._notes)]
        parts += ["", _thought(self._thought), ""] if self._thought.strip() else []
        parts += ["", *todo_view.live(self._todo), ""] if self._todo else []
        for item in self._done:
            if id(item) not in newest:
                continue
            if isinstance(item, str):
                parts += ["", _end(item, LIVE_TEXT // 8), ""]
                continue
            parts.append(_end(item.line(), LIVE_TEXT // 8))
            if isinstance(item, Tool):
                parts += ["", *item.live(), ""] if item.live() else []
            elif isinstance(item, _Agent) and not any(tool.steps for tool in self._running.values()):
                parts += ["", item.recent(), ""] if item.result is None and item.calls else []
        if self._text:
            parts += ["", _end(self._text, LIVE_TEXT)]
        return _lines(parts)

    def details(self, now: float, *, answered: bool) -> tuple[str, str] | None:
        """How the turn went: a line that sums up, and the steps as Markdown. None where there is nothing to tell.

        `answered`: the last text is the answer, which is shown elsewhere.
        """
        told = self._done[:-1] if answered and self._done and isinstance(self._done[-1], str) else self._done
        tools = [item for item in told if isinstance(item, Tool)]
        if not told and not self._notes and not self._todo:
            return None
        failed = sum(tool.failed for tool in tools)
        steps = f"{len(tools)} step{'' if len(tools) == 1 else 's'}" + (f", **{failed} failed**" if failed else "")
        took = [
            *([steps] if tools else []),
            seconds(now - self._began),
            *([spent(self._usage)] if self._usage != NO_USAGE else []),
        ]
        return " · ".join(took), self._steps(told)

    def _steps(self, told: Sequence[_Item]) -> str:
        """The newest of them that have room, and behind these, the newest first, what stays of each."""
        last = next((item for item in reversed(told) if isinstance(item, Tool) and item.name in COMMANDS), None)
        todo = todo_view.whole(self._todo)
        room = DETAILS - sum(len(line) for line in (*self._notes, *todo))
        rows: list[tuple[str, str]] = []
        for item in reversed(told):
            row = _end(item, LIVE_TEXT // 8) if isinstance(item, str) else item.line()
            if (room := room - len(row) - 4) < 0:
                break
            rows.append((row.replace(MARKS[None], "⏹", 1) if row.startswith(MARKS[None]) else row, ""))
        for at, item in enumerate(reversed(told[len(told) - len(rows) :])):
            kept = item.kept(last=item is last) if isinstance(item, Tool) else ""
            if kept and len(kept) <= room:
                room -= len(kept)
                rows[at] = rows[at][0], kept
        hidden = len(told) - len(rows)
        parts = [*(f"ℹ️ {note}" for note in self._notes), *todo, "", *([f"… {hidden} more before"] if hidden else [])]
        for (row, kept), item in zip(reversed(rows), told[hidden:], strict=True):
            parts += ["", row, ""] if isinstance(item, str) else [row, "", kept, ""] if kept else [row]
        return _lines(parts)


def _thought(words: str) -> str:
    """On one line, so that it can be cut anywhere."""
    return f"> 💭 {plain(words)}"


def _runs(item: _Item) -> bool:
    return isinstance(item, Tool | _Agent) and item.result is None


def _lines(parts: Sequence[str]) -> str:
    """As Markdown: an empty part is a blank line, of which two are one."""
    return "\n".join(part for part, before in zip(parts, ["", *parts], strict=False) if part or before).strip()


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


def _local_part(who: str) -> str:
    return who.removeprefix("@").partition(":")[0]


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


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-most:]
