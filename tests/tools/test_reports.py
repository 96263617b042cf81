"""What run_tests reads out of the output of each runner; the samples are of the real ones, but for go's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.tools import reports
from roommate.tools.reports import Failure, Report
from roommate.tools.sanitized_text import sanitized

SAMPLES = Path(__file__).with_name("samples")
WHAT: dict[str, Report] = {
    "pytest": Report(
        2,
        4,
        2,
        (
            Failure("test_a.py::test_total", "test_a.py:6", "AssertionError: the total is wrong"),
            Failure("test_a.py::TestThing::test_raises", "test_a.py:9", "KeyError: 'missing'"),
            Failure("test_a.py::test_many[2]", "test_a.py:16", "assert 2 < 2"),
            Failure("test_a.py::test_fixture", "test_a.py:13", "RuntimeError: no database"),
        ),
    ),
    "unittest": Report(1, 1, 1, (Failure("ut.T.test_bad", "/workspace/py/ut.py:4", "AssertionError: 1 != 2"),)),
    "node-spec": Report(
        2,
        2,
        1,
        (
            Failure("subtracts", "a.test.js:3", "AssertionError [ERR_ASSERTION]: 2 == 1"),
            Failure("inner fails", "a.test.js:4", "Error: boom"),
        ),
    ),
    "node-tap": Report(
        2,
        2,
        1,
        (
            Failure("subtracts", "/workspace/node/a.test.js:3", "2 == 1"),
            Failure("inner fails", "/workspace/node/a.test.js:4", "boom"),
        ),
    ),
    "jest": Report(
        1,
        1,
        1,
        (Failure("math › is wrong", "jest.spec.js:3", "expect(received).toBe(expected) // Object.is equality"),),
    ),
    "vitest": Report(
        1,
        1,
        1,
        (Failure("math > is wrong", "vi.spec.mjs:4", "AssertionError: expected 2 to be 3 // Object.is equality"),),
    ),
    "mocha": Report(1, 1, 1, (Failure("math is wrong", "mo.spec.cjs:4", "AssertionError [ERR_ASSERTION]: 2 == 3"),)),
    "cargo": Report(1, 1, 1, (Failure("tests::fails", "src/lib.rs:7", "assertion `left == right` failed: the sum"),)),
    "go": Report(
        2,
        3,
        1,
        (
            Failure("TestTotal", "total_test.go:12", "total is 4, not 3"),
            Failure("TestMany/two", "many_test.go:20", "two is wrong"),
            Failure("example.org/thing/broken", "", "build failed"),
        ),
    ),
}


def sample(name: str) -> str:
    return sanitized((SAMPLES / f"{name}.txt").read_bytes())


@pytest.mark.parametrize("runner", WHAT)
def test_what_a_runner_prints(runner: str) -> None:
    assert reports.of_output(sample(runner)) == WHAT[runner]


def test_several_runners_in_one_output_are_added_up() -> None:
    both = reports.of_output(sample("pytest") + sample("jest"))
    assert both == WHAT["pytest"] + WHAT["jest"]


def test_junit_says_more_of_a_failure() -> None:
    report = reports.junit((SAMPLES / "pytest.xml").read_bytes())
    assert report is not None
    assert (report.passed, report.failed, report.skipped) == (2, 4, 2)
    assert report.failures[0] == Failure(
        "test_a.test_total",
        "test_a.py:6",
        "AssertionError: the total is wrong\nassert 4 == 3\n +  where 4 = total([1, 2])",
    )


def test_lint() -> None:
    [finding] = reports.lint(sample("ruff"))
    assert (finding.where, finding.what) == ("test_a.py:1:1", "I001 Import block is un-sorted or un-formatted")


@pytest.mark.parametrize("output", ["", "hello\n", "1 failed\n", "Tests: many", "a passing thought\n"])
def test_who_is_not_known_is_not_guessed_at(output: str) -> None:
    assert reports.of_output(output) is None


def test_no_tests_is_a_report_as_well() -> None:
    assert reports.of_output("==== no tests ran in 0.01s ====\n") == Report()


def test_xml_with_entities_is_not_read() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><testsuites><testcase name="&x;"/></testsuites>'
    assert reports.junit(bomb) is None
    assert reports.junit(b"<testsuites><testcase") is None
    assert reports.junit("<!DOCTYPE a>".encode("utf-16")) is None


def test_a_failure_with_a_long_word_in_it_holds_up_nobody() -> None:
    """Such as a file in base64: a pattern that looks for places in it holds up all threads of the daemon meanwhile."""
    xml = '<testsuites><testcase name="a"><failure message="m">' + "a" * 20_000 + "\nb.py:3: KeyError"
    xml += "</failure></testcase></testsuites>"
    began = time.thread_time()
    assert reports.junit(xml.encode()) == Report(0, 1, 0, (Failure("a", "b.py:3", "m"),))
    assert time.thread_time() - began < 0.5


LINES = [line for path in SAMPLES.glob("*.txt") for line in sanitized(path.read_bytes()).splitlines()]


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=40), max_size=60))
def test_whatever_is_printed_is_read(lines: list[str]) -> None:
    reports.lint("\n".join(lines))
    report = reports.of_output("\n".join(lines))
    assert report is None or len(report.failures) <= len(lines)


def test_a_megabyte_of_failures_is_read_in_no_time() -> None:
    heads = "  1) x\n", "  ● x\n", " FAIL  a > x\n", "---- x stdout ----\n", "FAIL: x (y)\n", "not ok 1 - x\n"
    tails = "Tests: 1 failed, 1 total\n  1 failing\n# tests 1\nRan 1 test in 1s\n"
    tails += "test result: F. 0 passed; 1 failed; 0 ignored;\n"
    for head in heads:
        report = reports.of_output(head * 50_000 + tails)
        assert report is not None
        assert len(report.failures) <= 500
