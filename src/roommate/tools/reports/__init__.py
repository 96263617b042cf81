"""What test runners say, as counts and failures. Pure: a runner's output is a stranger's text."""

from __future__ import annotations

from functools import reduce
from operator import add

from roommate.tools.reports.compiled import cargo, go
from roommate.tools.reports.javascript import jest, mocha, node, vitest
from roommate.tools.reports.python import Finding, junit, pytest, ruff, unittest
from roommate.tools.reports.report import Failure, Report, lines_of

__all__ = ["Failure", "Finding", "Report", "junit", "lint", "of_output"]

_READERS = (pytest, unittest, node, jest, vitest, mocha, cargo, go)


def of_output(output: str) -> Report | None:
    """What all runners together say that printed this; None where none is known by its summary."""
    lines = lines_of(output)
    reports = [report for reader in _READERS if (report := reader(lines)) is not None]
    return reduce(add, reports) if reports else None


def lint(output: str) -> list[Finding]:
    """What ``ruff check --output-format concise`` found."""
    return ruff(lines_of(output))
