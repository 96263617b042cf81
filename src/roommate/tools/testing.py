"""The tool run_tests: runs what the project declares, or a command, and says what passed and what failed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import PurePosixPath

from pydantic import Field

from roommate.domain import Exit, Hand
from roommate.errors import ToolError
from roommate.tools import project_tests, reports
from roommate.tools.arguments import Arguments, Command, Text
from roommate.tools.bounded import Bounded
from roommate.tools.command_tools import WORKSPACE, ending
from roommate.tools.live_output import LiveOutput
from roommate.tools.outcome import Outcome, counted
from roommate.tools.project_tests import PYTEST, RUFF, UNITTESTS, Suite
from roommate.tools.reports import Failure, Finding, Report
from roommate.tools.sanitized_text import sanitized, shown
from roommate.tools.tool import Call, TurnPorts, tool

QUIET = {"CI": "true", "NO_COLOR": "1", "FORCE_COLOR": "0"}
"""No watching for changes, no colours."""
READ_FOR_COUNTS = 256 << 10
"""Bytes of each end of what a runner prints that its summary and failures are looked for in."""
LARGEST_XML = 8 << 20
MOST_FAILURES = 10
MOST_FINDINGS = 5
LONGEST_MESSAGE = 600
NOTHING_RAN = "no tests ran"


class RunTests(Arguments):
    """Run the project's tests, and get what passed and what failed. Finds out by itself how they are run."""

    path: Text | None = Field(None, description="Folder of the project, or a Python test file; default: the workspace")
    command: Command | None = Field(
        None, description="How to run them, where the project's own way is not what you want"
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A suite that was run; `report` is None where its runner is not known by what it printed."""

    suite: Suite
    ended: Exit
    text: str
    report: Report | None = None
    findings: Sequence[Finding] = ()

    @property
    def wrong(self) -> bool:
        """Tests failed, or could not be run. What a linter finds is told, and fails nothing."""
        return self.suite.by != RUFF and (self.ended.code != 0 or self.ended.timed_out)


async def test(asked: RunTests, call: Call) -> Outcome:
    """All of it may take as long as a command at most."""
    hand, ports = call.hand, call.ports
    where = asked.path or WORKSPACE
    if asked.command:
        suites = [Suite(asked.command, where, asked.command)]
    else:
        suites = await project_tests.suites(hand, where)
    if not suites:
        text = f"no tests found in {where}: looked here and in the folders in it for {project_tests.LOOKED_FOR}. "
        return Outcome(text + "Give the project's folder as path, or the command.", "no tests found", ok=False)
    runs: list[Run] = []
    live = LiveOutput(call.id, call.emit)
    try:
        for suite in suites:
            left = ports.longest_timeout - sum(run.ended.seconds for run in runs)
            runs.append(await _run(suite, hand, live, max(left, 1.0), ports))
    finally:
        live.close()
    return _told(runs)


async def _run(suite: Suite, hand: Hand, live: LiveOutput, timeout: float, ports: TurnPorts) -> Run:
    keep = ports.keep
    printed, for_counts = Bounded(keep // 4, keep // 4), Bounded(READ_FOR_COUNTS, READ_FOR_COUNTS)

    def take(piece: bytes) -> None:
        printed.add(piece)
        for_counts.add(piece)
        if suite.by != RUFF:
            live.add(piece)

    xml = f"/tmp/tests-{secrets.token_hex(4)}.xml" if suite.by == PYTEST else ""  # noqa: S108  (in the container)
    command = f"{suite.command} --junitxml={xml} -o junit_family=xunit1" if xml else suite.command
    env = QUIET | UNITTESTS if suite.by == PYTEST else QUIET
    ended = await hand.run(
        command,
        cwd=suite.folder,
        env=env,
        timeout=timeout,
        on_output=take,
        spill_after=keep,
        clock=ports.clock,
    )
    text = shown(printed.excerpt(), ended.spilled or "")
    excerpt = for_counts.excerpt()
    output = sanitized(excerpt.head + (b"\n" if excerpt.left_out else b"") + excerpt.tail)
    if suite.by == RUFF:
        found = await asyncio.to_thread(reports.lint, output)
        return Run(suite, ended, text, findings=[replace(one, where=_placed(one.where, suite)) for one in found])
    report = await _junit(hand, xml) if xml else None
    # In a thread: whoever prints a megabyte of what looks like failures holds up nobody else.
    report = report or await asyncio.to_thread(reports.of_output, output)
    if report is not None:
        placed = tuple(replace(failure, where=_placed(failure.where, suite)) for failure in report.failures)
        report = replace(report, failures=placed)
    return Run(suite, ended, text, report)


def _placed(where: str, suite: Suite) -> str:
    """A place as the other tools take it: runners say it from the folder in which they run."""
    return str(PurePosixPath(suite.folder, where)).removeprefix(f"{WORKSPACE}/") if where else ""


async def _junit(hand: Hand, path: str) -> Report | None:
    try:
        got = await hand.read(path, limit=LARGEST_XML)
    except ToolError:  # it ended before it wrote any
        return None
    await hand.run(["rm", "-f", path])
    return await asyncio.to_thread(reports.junit, got.content)


def _told(runs: Sequence[Run]) -> Outcome:
    tests = [run for run in runs if run.suite.by != RUFF]
    known = [run.report for run in tests if run.report is not None]
    total = reduce(add, known, Report())
    findings = [finding for run in runs for finding in run.findings]
    title = _title(tests, total, findings)
    parts = [title]
    if len(tests) > 1:
        parts += [
            f"- {run.suite.name} in {run.suite.folder}: {_counts(run.report) or ending(run.ended)}" for run in tests
        ]
    if total.failures:
        parts += ["", "Failed:", *(_failure(failure) for failure in total.failures[:MOST_FAILURES])]
        if (more := total.failed - MOST_FAILURES) > 0:
            parts.append(f"… and {more} more")
    if findings:
        parts += ["", f"ruff: {counted(len(findings), 'finding')}"]
        parts += [f"- {finding.where} {finding.what}" for finding in findings[:MOST_FINDINGS]]
    for run in tests:
        if run.wrong or run.report is None or run.report.empty:
            parts += ["", run.text.rstrip() or "(no output)", f"[{run.suite.name}: {ending(run.ended)}]"]
        elif run.ended.spilled:
            parts += ["", f"[the whole output is in {run.ended.spilled}]"]
    return Outcome("\n".join(parts), title, ok=not any(run.wrong for run in tests) and not total.failed)


def _title(tests: Sequence[Run], total: Report, findings: Sequence[Finding]) -> str:
    """``12 passed, 1 failed · 2 lint findings · 3.2 s``"""
    took = sum(run.ended.seconds for run in tests)
    parts = [] if total.empty else [_counts(total)]
    if unclear := next((run for run in tests if run.wrong and not (run.report and run.report.failed)), None):
        parts.append(_why(unclear))
    if not parts:
        parts = ["exit code 0" if any(run.report is None for run in tests) else NOTHING_RAN]
    if findings:
        parts.append(counted(len(findings), "lint finding"))
    return " · ".join([*parts, f"{took:.1f} s"])


def _why(run: Run) -> str:
    """Why a run that names no failed test went wrong."""
    if run.ended.timed_out:
        return "timed out"
    if run.report is not None and run.report.empty:
        return NOTHING_RAN
    return ending(run.ended).partition(" · ")[0]


def _counts(report: Report | None) -> str:
    if report is None:
        return ""
    counts = ((report.passed, "passed"), (report.failed, "failed"), (report.skipped, "skipped"))
    return ", ".join(f"{number} {what}" for number, what in counts if number) or "no tests"


def _failure(failure: Failure) -> str:
    where = f" ({failure.where})" if failure.where else ""
    message = failure.message.strip()
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + "…"
    told = message.replace("\n", "\n  ")
    return f"- {failure.name[:200]}{where}" + (f": {told}" if told else "")


TOOLS = (tool("run_tests", RunTests, test, title=("command", "path")),)
