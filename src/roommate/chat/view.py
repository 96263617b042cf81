"""The look of a turn: its events folded into what one message shows, while it runs and when it has ended."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from roommate.chat.voice import seconds, spent
from roommate.words import (
    NO_USAGE,
    Event,
    Note,
    Said,
    Spent,
    TextDelta,
    TextDropped,
    ToolCall,
    ToolFinished,
    ToolOutput,
    ToolResult,
    ToolStarted,
    Usage,
)

LIVE_TEXT = 8000
"""Characters of streamed text that a live message shows: its end is what is new."""

LIVE_OUTPUT_LINES = 8
LIVE_OUTPUT_TEXT = 1200
LIVE_STEPS = 12
LABEL = 100

_SUBJECTS = ("command", "path", "pattern", "id", "glob")


@dataclass(slots=True)
class _Tool:
    call: ToolCall
    output: str = ""
    result: ToolResult | None = None

    def line(self) -> str:
        if self.result is None:
            return f"▶ {label(self.call)}"
        mark = "✔" if self.result.ok else "✘"
        title = self.result.title.replace("`", "'")
        return f"{mark} {label(self.call)}" + (f" — {title}" if title else "")


class View:
    """Folds a turn's events. Times are seconds on any one clock."""

    def __init__(self, began: float, usage: Usage = NO_USAGE) -> None:
        self._began = began
        self._usage = usage
        self._text = ""
        self._done: list[str | _Tool] = []
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
            case ToolStarted(call):
                self._running[call.id] = started = _Tool(call)
                self._done.append(started)
            case ToolOutput(call_id, text):
                if tool := self._running.get(call_id):
                    tool.output = (tool.output + text)[-LIVE_OUTPUT_TEXT:]
            case ToolFinished(result):
                if ended := self._running.pop(result.call_id, None):
                    ended.result = result
                    ended.output = ""
            case Spent(usage):
                self._usage += usage
            case Note(text):
                self._notes.append(text)

    @property
    def empty(self) -> bool:
        """Nothing to show yet but that something goes on."""
        return not (self._text or self._done or self._notes)

    def live(self, now: float) -> str:
        """Markdown of the turn as it stands: the steps, what runs now with its newest output, the text so far."""
        hidden = len(self._done) - LIVE_STEPS
        parts = [f"⚙️ *working · {seconds(now - self._began)}*" + (f" *· {hidden} more before*" if hidden > 0 else "")]
        parts += [f"ℹ️ {note}" for note in self._notes]
        for item in self._done[-LIVE_STEPS:]:
            if isinstance(item, str):
                parts.append(_end(item, LIVE_TEXT // 8))
            else:
                parts.append(item.line())
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
        if not tools and not self._notes:
            return None
        steps = f"{len(tools)} step{'' if len(tools) == 1 else 's'}"
        summary = f"{steps} · {seconds(now - self._began)}"
        if self._usage != NO_USAGE:
            summary += f" · {spent(self._usage)}"
        said = self._done[:-1] if answered and self._done and isinstance(self._done[-1], str) else self._done
        rows = [f"ℹ️ {note}" for note in self._notes]
        rows += [item if isinstance(item, str) else item.line() for item in said]
        return summary, "\n\n".join(rows)


def label(call: ToolCall) -> str:
    """A call in one short line: the tool and what it is about."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = None
    subject = ""
    if isinstance(arguments, dict):
        subject = next((str(arguments[key]) for key in _SUBJECTS if arguments.get(key)), "")
    subject = " ".join(subject.split())
    if len(subject) > LABEL:
        subject = subject[: LABEL - 1] + "…"
    name = call.name.replace("`", "'")[:40]
    return f"**{name}**" + (f" {span(subject)}" if subject else "")


def span(text: str) -> str:
    """Text as a Markdown code span, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"`{text}`"


def block(text: str) -> str:
    """Text as a Markdown code block, whatever fences it holds."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[-most:]
