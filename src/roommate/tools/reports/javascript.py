"""What JavaScript's test runners say: Node's own (also as TAP), Jest, Vitest, Mocha."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from roommate.tools.reports.report import Failure, Report, behind, first_said, told

_NODE = re.compile(r"[ℹ#] (pass|fail|cancelled|skip|skipped|todo)\s+(\d+)")
_NODE_TESTS = re.compile(r"[ℹ#] tests\s+\d+")
_NODE_PLACE = re.compile(r"test at (.+:\d+):\d+")
_NODE_NAME = re.compile(r"✖ (.+?)(?: \([\d.]+ms\))?")
_NOT_OK = re.compile(r"\s*not ok \d+ -? ?(.+)")
_FIELD = re.compile(r"\s+(location|error|failureType|type): ['\"]?(.*?)['\"]?")
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|todo)")
_JEST = re.compile(r"Tests: +(.+), \d+ total")
_JEST_NAME = re.compile(r"  ● (.+)")
_VITEST = re.compile(r" +Tests +(.+?) *\(\d+\)")
_VITEST_NAME = re.compile(r"\s*FAIL\s+\S+ > (.+)")
_MOCHA = re.compile(r"  (\d+) (passing|pending|failing)(?: \(\d+\w+\))?")
_MOCHA_NAME = re.compile(r"  \d+\) (.+)")


def node(lines: Sequence[str]) -> Report | None:
    """``node --test``, as it prints for people and as TAP; and what else writes TAP with counts at its end."""
    if not any(_NODE_TESTS.fullmatch(line) for line in lines):
        return None
    counted = [(found[1], int(found[2])) for line in lines if (found := _NODE.fullmatch(line))]
    return Report(
        sum(number for what, number in counted if what == "pass"),
        sum(number for what, number in counted if what in ("fail", "cancelled")),
        sum(number for what, number in counted if what in ("skip", "skipped", "todo")),
        told(chain(_node_failures(lines), _tap_failures(lines))),
    )


def _node_failures(lines: Sequence[str]) -> Iterator[Failure]:
    rest = iter(lines)
    for line in rest:
        if (place := _NODE_PLACE.fullmatch(line)) and (name := _NODE_NAME.fullmatch(next(rest, ""))):
            yield Failure(name[1], place[1], first_said(rest))


def _tap_failures(lines: Sequence[str]) -> Iterator[Failure]:
    for at, line in enumerate(lines):
        if not (name := _NOT_OK.fullmatch(line)) or "# TODO" in line:
            continue
        fields: dict[str, str] = {}
        for later in lines[at + 1 : at + 12]:
            if later.strip() == "...":
                break
            if found := _FIELD.fullmatch(later):
                fields.setdefault(found[1], found[2])
        if fields.get("failureType") != "subtestsFailed":  # what failed is within it, and counted there
            where = fields.get("location", "").rpartition(":")[0]
            yield Failure(name[1], where, fields.get("error", ""))


def jest(lines: Sequence[str]) -> Report | None:
    return _counted([found[1] for line in lines if (found := _JEST.fullmatch(line))], _under(_JEST_NAME, lines))


def vitest(lines: Sequence[str]) -> Report | None:
    return _counted([found[1] for line in lines if (found := _VITEST.fullmatch(line))], _under(_VITEST_NAME, lines))


def mocha(lines: Sequence[str]) -> Report | None:
    counted = [(int(found[1]), found[2]) for line in lines if (found := _MOCHA.fullmatch(line))]
    if not counted:
        return None
    passed, skipped, failed = (
        sum(number for number, what in counted if what == wanted) for wanted in ("passing", "pending", "failing")
    )
    start = next((at for at, line in enumerate(lines) if line.strip().endswith("failing")), len(lines))
    return Report(passed, failed, skipped, told(_mocha_failures(lines[start:])))


def _mocha_failures(lines: Sequence[str]) -> Iterator[Failure]:
    for at, line in enumerate(lines):
        if begun := _MOCHA_NAME.fullmatch(line):
            names = [begun[1].rstrip(":")]
            rest = iter(behind(lines, at))
            if not line.endswith(":"):
                for more in rest:
                    names.append(more.strip().rstrip(":"))
                    if more.endswith(":") or not more.strip():
                        break
            yield Failure(" ".join(names).strip(), _place(behind(lines, at), _MOCHA_NAME), first_said(rest))


def _counted(summaries: Sequence[str], failures: Iterator[Failure]) -> Report | None:
    if not summaries:
        return None
    counts = {"passed": 0, "failed": 0, "skipped": 0, "todo": 0}
    for number, what in _COUNT.findall(" ".join(summaries)):
        counts[what] += int(number)
    return Report(counts["passed"], counts["failed"], counts["skipped"] + counts["todo"], told(failures))


def _under(heading: re.Pattern[str], lines: Sequence[str]) -> Iterator[Failure]:
    """The failures that have such a heading."""
    for at, line in enumerate(lines):
        if found := heading.fullmatch(line):
            telling = behind(lines, at)
            yield Failure(found[1], _place(telling, heading), first_said(telling))


def _place(lines: Sequence[str], end: re.Pattern[str]) -> str:
    """The first line of theirs that a stack trace names, before the next failure."""
    for line in lines:
        if end.fullmatch(line):
            break
        call = line.strip()
        if call.startswith(("at ", "❯ ")) and "node_modules/" not in call and "node:" not in call:
            file, _, number = call.split(" ")[-1].strip("()").rpartition(":")[0].rpartition(":")
            if file and number.isdecimal():
                return f"{file}:{number}"
    return ""
