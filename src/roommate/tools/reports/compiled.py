"""What the test runners of compiled languages say: cargo, go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from roommate.tools.reports.report import Failure, Report, behind, first_said, told

_CARGO = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;.*")
_CARGO_NAME = re.compile(r"---- (.+) stdout ----")
_PANIC = re.compile(r"thread '.*?'(?: \(\d+\))? panicked at (?:'(?P<old>.*)', )?(?P<where>[^\s:]+:\d+):\d+:?")
_GO = re.compile(r"\s*--- (PASS|FAIL|SKIP): (\S+) \([\d.]+s\)")
_GO_RUNS = re.compile(r"=== (?:RUN|NAME|CONT) +(\S+)")
_GO_SAID = re.compile(r"\s+([^\s:]+\.go:\d+): (.*)")
_GO_BROKEN = re.compile(r"FAIL\s+(\S+) \[(build|setup) failed\]")


def cargo(lines: Sequence[str]) -> Report | None:
    results = [found for line in lines if (found := _CARGO.fullmatch(line))]
    if not results:
        return None
    passed, failed, skipped = (sum(int(found[group]) for found in results) for group in (1, 2, 3))
    return Report(passed, failed, skipped, told(_cargo_failures(lines)))


def _cargo_failures(lines: Sequence[str]) -> Iterator[Failure]:
    for at, line in enumerate(lines):
        if not (name := _CARGO_NAME.fullmatch(line)):
            continue
        where = message = ""
        rest = iter(behind(lines, at))
        for later in rest:
            if _CARGO_NAME.fullmatch(later):
                break
            if panic := _PANIC.fullmatch(later):
                where, message = panic["where"], panic["old"] or first_said(rest)
                break
        yield Failure(name[1], where, message)


def go(lines: Sequence[str]) -> Report | None:
    """``go test``, with -v for more than what failed. A test that has subtests is not counted besides them."""
    ended: dict[str, str] = {}
    said: dict[str, tuple[str, str]] = {}
    broken: list[Failure] = []
    runs = ""
    for line in lines:
        if found := _GO_RUNS.fullmatch(line):
            runs = found[1]
        elif found := _GO.fullmatch(line):
            ended[found[2]] = found[1]
            runs = found[2] if found[1] == "FAIL" else ""
        elif runs and (found := _GO_SAID.fullmatch(line)):
            said.setdefault(runs, (found[1], found[2]))
        elif found := _GO_BROKEN.fullmatch(line):
            broken.append(Failure(found[1], "", f"{found[2]} failed"))
    if not ended and not broken:
        return None
    parents = {name.rpartition("/")[0] for name in ended}
    leaves = {name: how for name, how in ended.items() if name not in parents}
    failures = [Failure(name, *said.get(name, ("", ""))) for name, how in leaves.items() if how == "FAIL"]
    hows = list(leaves.values())
    failed = hows.count("FAIL") + len(broken)
    return Report(hows.count("PASS"), failed, hows.count("SKIP"), told([*failures, *broken]))
