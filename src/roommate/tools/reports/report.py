"""What a run of tests came to, whoever ran them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

LONGEST_LINE = 1000
"""No line of a runner that counts is longer; a hostile one would take a pattern long to read."""
LONGEST_TELLING = 100
"""Lines in which a failure is looked for."""
MOST_TOLD = 100
"""Failures that are told of, however many are counted."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`where` is ``file:line``; it and `message` are empty where the runner does not say."""

    name: str
    where: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()
    """Of those that `failed`, as far as the runner tells of them."""

    def __add__(self, other: Report) -> Report:
        return Report(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    @property
    def empty(self) -> bool:
        return not (self.passed or self.failed or self.skipped)


def lines_of(output: str) -> list[str]:
    return [line.rstrip() for line in output.split("\n") if len(line) <= LONGEST_LINE]


def behind(lines: Sequence[str], at: int) -> Sequence[str]:
    """The lines behind that one, as many as tell of one failure."""
    return lines[at + 1 : at + 1 + LONGEST_TELLING]


def first_said(lines: Iterable[str]) -> str:
    """The next line with something in it."""
    return next((line.strip() for line in lines if line.strip()), "")


def told(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """The first of them; one that a runner tells of again at its end counts once."""
    first: dict[str, Failure] = {}
    for failure in islice(failures, 2 * MOST_TOLD):
        first.setdefault(failure.name, failure)
    return tuple(first.values())[:MOST_TOLD]
