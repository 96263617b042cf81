"""What Python's tools say: pytest (as JUnit XML, and as it prints), unittest, ruff."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from roommate.tools.reports.report import MOST_TOLD, Failure, Report, behind, lines_of, told

_SUMMARY = re.compile(r"(?:=+ )?((?:\d+ [a-z]+(?:, )?)+|no tests ran) in [\d.]+s(?: \([\d:]+\))?(?: =+)?")
_COUNT = re.compile(r"(\d+) ([a-z]+)")
_NAMED = re.compile(r"(?:FAILED|ERROR) (\S+?\.py(?:::.+?)?)(?: - (.*))?")
_SECTION = re.compile(r"_{3,} (?:ERROR (?:at \w+ of|collecting) )?(.+?) _{3,}")
_PLACE = re.compile(r"([^\s:]+\.py:\d+): ")
_RAN = re.compile(r"Ran (\d+) tests? in [\d.]+s")
_UNITTEST = re.compile(r"(?:FAIL|ERROR): (\S+) \((.+)\)")
_FRAME = re.compile(r'  File "([^"]+)", line (\d+)')
_FINDING = re.compile(r"(\S[^:]*:\d+:\d+): ([A-Za-z]+[\w-]*:?)(?: \[\*\])? (.*)")


def pytest(lines: Sequence[str]) -> Report | None:
    """The summary in the last line, the names in the short summary, the places of the sections above."""
    summaries = [found[1] for line in lines if (found := _SUMMARY.fullmatch(line))]
    if not summaries:
        return None
    counts = {"no tests ran": 0}
    for number, what in _COUNT.findall(" ".join(summaries)):
        counts[what] = counts.get(what, 0) + int(number)
    places: dict[str, str] = {}
    section = ""
    for line in lines:
        if found := _SECTION.fullmatch(line):
            section = found[1]
        elif found := _PLACE.match(line):
            places[section] = found[1]
    failures = (
        Failure(found[1], places.get(found[1].partition("::")[2].replace("::", ".") or found[1], ""), found[2] or "")
        for line in lines
        if (found := _NAMED.fullmatch(line))
    )
    return Report(
        counts.get("passed", 0) + counts.get("xpassed", 0),
        counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0),
        counts.get("skipped", 0) + counts.get("xfailed", 0),
        told(failures),
    )


def unittest(lines: Sequence[str]) -> Report | None:
    ran = sum(int(found[1]) for line in lines if (found := _RAN.fullmatch(line)))
    if not any(_RAN.fullmatch(line) for line in lines):
        return None
    ends = " ".join(line for line in lines if line.startswith(("OK (", "FAILED (")))
    wrong = sum(int(number) for number in re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", ends))
    skipped = sum(int(number) for number in re.findall(r"(?:skipped|expected failures)=(\d+)", ends))
    return Report(max(0, ran - wrong - skipped), wrong, skipped, told(_unittest_failures(lines)))


def _unittest_failures(lines: Sequence[str]) -> Iterator[Failure]:
    for at, line in enumerate(lines):
        if not (found := _UNITTEST.fullmatch(line)):
            continue
        where = message = ""
        for later in behind(lines, at + 1):
            if later.startswith(("=====", "-----")):
                break
            if frame := _FRAME.match(later):
                where = f"{frame[1]}:{frame[2]}"
            elif later and not later.startswith(" "):
                message = later
        yield Failure(found[2], where, message)


def junit(content: bytes) -> Report | None:
    """pytest's JUnit XML (family xunit1, which says where); None where it is not that.

    https://docs.pytest.org/en/stable/how-to/output.html#creating-junitxml-format-files
    """
    text = content.decode("utf-8", "replace")
    if "<!DOCTYPE" in text:  # no runner writes one, and entities can make little text large
        return None
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  (entities need a DOCTYPE)
    except (ElementTree.ParseError, ValueError):
        return None
    passed = failed = skipped = 0
    failures: list[Failure] = []
    for case in root.iter("testcase"):
        wrong = next((part for part in case if part.tag in ("failure", "error")), None)
        if wrong is not None:
            failed += 1
            if failed <= MOST_TOLD:
                failures.append(_failure(case, wrong))
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Report(passed, failed, skipped, tuple(failures))


def _failure(case: ElementTree.Element, wrong: ElementTree.Element) -> Failure:
    file, line = case.get("file", ""), case.get("line", "")
    where = f"{file}:{int(line) + 1}" if file and line.isdecimal() and len(line) < 9 else file
    for found in filter(None, map(_PLACE.match, lines_of(wrong.text or ""))):  # the last is where it was raised
        where = found[1]
    name = ".".join(part for part in (case.get("classname", ""), case.get("name", "")) if part)
    return Failure(name, where, wrong.get("message", ""))


@dataclass(frozen=True, slots=True)
class Finding:
    where: str
    """``file:line:column``"""
    what: str


def ruff(lines: Sequence[str]) -> list[Finding]:
    """What ``ruff check --output-format concise`` found."""
    return [Finding(found[1], f"{found[2]} {found[3]}") for line in lines if (found := _FINDING.fullmatch(line))]
