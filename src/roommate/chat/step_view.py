"""The look of one step of a turn: its line, what shows while it runs, and what stays of it to be seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from roommate.domain import ToolResult, ToolStep
from roommate.text.printable import block, plain, span

LIVE_OUTPUT_LINES = 8
LIVE_OUTPUT_TEXT = 1200
KEPT_OUTPUT_TEXT = 4000
"""Characters of what it printed that a step which is stopped leaves."""
LABEL = 100
LIVE_WITHIN = 5
"""Steps within a running tool that a live message shows: its newest."""
TAIL_LINES, TAIL_TEXT = 12, 1000
"""Of what a command printed, in the details of a turn."""
DIFF_LINES, DIFF_TEXT = 20, 1200
"""Of a diff, there."""
STOPPED = "stopped"
COMMANDS = frozenset({"run_command", "run_tests", "shell", "read_background", "stop_background"})
"""Tools that print."""

MARKS = {None: "▶", True: "✔", False: "✘"}
_HOW_IT_ENDED = re.compile(r"\[[^\n]*\]")


@dataclass(slots=True)
class Tool:
    name: str
    title: str
    output: str = ""
    """The end of what it has printed, while it runs."""
    result: ToolResult | None = None
    stopped: bool = False
    arguments: str = ""
    """What it was given, where people want to see that."""
    steps: dict[str, ToolStep] = field(default_factory=dict)
    """The newest steps within it, by key."""

    def step(self, step: ToolStep) -> None:
        self.steps[step.key] = step
        while len(self.steps) > LIVE_WITHIN:
            del self.steps[next(iter(self.steps))]

    def printed(self, text: str) -> None:
        self.output = (self.output + text)[-KEPT_OUTPUT_TEXT:]

    def finish(self, result: ToolResult) -> None:
        self.result = result
        self.output = ""
        self.steps.clear()

    def stop(self, call_id: str) -> ToolResult:
        """It ends here: a result that keeps what it has printed."""
        text = f"{self.output.strip() or '(no output)'}\n[stopped by a person; what it printed before is above]"
        result = ToolResult(call_id, text, ok=False, title=STOPPED)
        self.stopped = True
        self.finish(result)
        return result

    @property
    def failed(self) -> bool:
        return self.result is not None and not self.result.ok and not self.stopped

    def line(self) -> str:
        about = label(self.name, self.title)
        if self.result is None:
            return f"{MARKS[None]} {about}"
        mark = "⏹" if self.stopped else MARKS[self.result.ok]
        title = self.result.title.removeprefix(f"{self.title}: ").replace("`", "'")
        return f"{mark} {about}" + (f" — {title}" if title else "")

    def live(self) -> list[str]:
        """Below its line while it runs: its steps as a list, the newest diff, the end of what it prints."""
        steps = self.steps.values()
        lines = [f"- {MARKS[step.ok]} **{plain(step.what) or '?'}** {_subject(step.subject)}" for step in steps]
        diffs = [step.diff for step in steps if step.diff]
        newest = block("\n".join(diffs[-1].splitlines()[:LIVE_OUTPUT_LINES]), "diff") if diffs else ""
        output = "\n".join(self.output[-LIVE_OUTPUT_TEXT:].splitlines()[-LIVE_OUTPUT_LINES:])
        given = block(self.arguments, "json") if self.arguments else ""
        return [part for part in (given, "\n".join(lines), newest, block(output) if output else "") if part]

    def kept(self, *, last: bool) -> str:
        """What stays to be seen: the diff of a file; the end of what a command printed that failed, was stopped or was
        the `last` one. Empty for all others."""
        if self.result is None:
            return ""
        given = block(self.arguments, "json") if self.arguments else ""
        if self.result.diff:
            return "\n".join(filter(None, (given, block(_first(self.result.diff), "diff"))))
        tail = printed_end(self.result) if last or not self.result.ok else ""
        return "\n".join(filter(None, (given, block(tail) if tail else "")))


def printed(result: ToolResult) -> str:
    """What a command printed, without how it ended: its title says that."""
    lines = result.text.rstrip().splitlines()
    if lines and _HOW_IT_ENDED.fullmatch(lines[-1]):
        lines.pop()
    if lines and lines[0] in (result.title, "(no output)"):
        del lines[0]
    return "\n".join(lines).strip("\n")


def printed_end(result: ToolResult) -> str:
    return "\n".join(printed(result).splitlines()[-TAIL_LINES:])[-TAIL_TEXT:]


def _first(diff: str) -> str:
    lines = diff.splitlines()
    kept = "\n".join(lines[:DIFF_LINES])[:DIFF_TEXT]
    left = len(lines) - kept.count("\n") - 1
    return f"{kept}\n… {left} more lines: !diff" if left > 0 else kept


def label(name: str, title: str) -> str:
    """A call in one short line: the tool and what it is about."""
    name = name.replace("`", "'")[:40]
    return f"**{name}** {_subject(title)}".rstrip()


def _subject(text: str) -> str:
    text = " ".join(text.split())
    return span(text if len(text) <= LABEL else text[: LABEL - 1] + "…") if text else ""
