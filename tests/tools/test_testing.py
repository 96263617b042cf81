"""run_tests over a real hand: what it finds to run, and what it tells."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.domain import ToolOutput
from roommate.tools import project_tests
from tests.live_hand import live_hand
from tests.tools.test_room_tools import KEEP, Room

TESTS = """
def test_good(): pass
def test_bad(): assert 1 + 1 == 3, "the sum"
"""


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with live_hand() as hand:
        yield Room(hand)


def files(folder: Path, **contents: str) -> None:
    """``a__b_py`` is the file a/b.py."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_toml", ".toml").replace("_json", ".json")
        path = path.with_name(path.name.removesuffix("_py") + ".py") if path.name.endswith("_py") else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def with_pytest(folder: Path) -> None:
    """A virtual environment, as far as it is needed: the one of these tests."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "pytest"):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / name).chmod(0o755)


async def test_a_python_project(room: Room) -> None:
    with_pytest(room.files)
    files(room.files, pyproject_toml="", app_py="import os\n", tests__test_app_py=TESTS)
    result = await room.call("run_tests")
    assert not result.ok
    assert re.match(r"1 passed, 1 failed( · \d lint findings?)? · \d+\.\d s\n", result.text)
    assert result.title == result.text.partition("\n")[0]
    assert "\nFailed:\n- tests.test_app.test_bad (tests/test_app.py:3): AssertionError: the sum\n" in result.text
    assert "short test summary info" in result.text, "what was printed"
    assert "test session starts" in "".join(event.text for event in room.events if isinstance(event, ToolOutput))
    (room.files / "tests" / "test_app.py").write_text("def test_good(): pass\n")
    good = await room.call("run_tests", path="tests/test_app.py")
    assert good.ok
    assert re.fullmatch(r"1 passed · \d+\.\d s", good.text)
    (room.files / "tests" / "test_app.py").write_text("import nothing_of_that_name\n")
    broken = await room.call("run_tests", path=str(room.files))
    assert not broken.ok
    assert "1 failed" in broken.title
    assert "nothing_of_that_name" in broken.text


def without_pytest(folder: Path) -> None:
    """A virtual environment that has the standard library alone."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)


CASES = """
import unittest
from package.sums import add
class Sums(unittest.TestCase):
    def test_good(self): self.assertEqual(add(1, 1), 2)
    @unittest.skip("later")
    def test_later(self): pass
"""


async def test_a_python_project_where_pytest_is_not_installed(room: Room) -> None:
    without_pytest(room.files)
    files(room.files, setup_py="", package____init___py="", package__sums_py="def add(a, b): return a + b\n")
    files(room.files, tests__test_sums_py=CASES, tests__deep____init___py="", tests__deep__more_test_py=CASES)
    good = await room.call("run_tests")
    assert good.ok, good.text
    assert re.match(r"2 passed, 2 skipped( · |$)", good.title)
    files(room.files, tests__test_broken_py="import nothing_of_that_name\n")
    files(room.files, tests__test_sums_py=CASES + "    def test_bad(self): self.assertEqual(add(1, 1), 3)\n")
    bad = await room.call("run_tests")
    assert not bad.ok
    assert "1 passed, 2 failed, 2 skipped" in bad.title.replace("2 passed", "1 passed")
    assert "nothing_of_that_name" in bad.text
    assert "AssertionError: 2 != 3" in bad.text
    files(room.files, tests__test_functions_py=TESTS)
    functions = await room.call("run_tests", path="tests/test_functions.py")
    assert not functions.ok
    assert functions.title.startswith("no tests ran")
    assert "not run, since only pytest does: test_good, test_bad (2 in all)" in functions.text


async def test_places_are_said_from_the_workspace(room: Room) -> None:
    files(room.files, web__a_py="")
    said = "printf '=== 1 failed in 0.1s ===\\nFAILED a.py::test_x - wrong\\n___ test_x ___\\na.py:3: Error\\n'"
    result = await room.call("run_tests", path="web", command=said)
    assert result.text.endswith("\n- a.py::test_x (web/a.py:3): wrong")


async def test_a_command_of_ones_own(room: Room) -> None:
    said = "printf '=== 3 passed, 1 skipped in 0.1s ===\\n'"
    good = await room.call("run_tests", command=said)
    assert good.ok
    assert re.fullmatch(r"3 passed, 1 skipped · \d+\.\d s", good.text)
    unclear = await room.call("run_tests", command=f"{said}; echo coverage is too low; exit 2")
    assert not unclear.ok
    assert unclear.title.startswith("3 passed, 1 skipped · exit code 2 · ")
    assert "coverage is too low\n" in unclear.text
    nothing = await room.call("run_tests", command="echo '=== no tests ran in 0.1s ==='; exit 5")
    assert not nothing.ok
    assert nothing.title.startswith("no tests ran · ")
    silent = await room.call("run_tests", command="true")
    assert silent.ok
    assert silent.title.startswith("exit code 0 · ")
    long = await room.call("run_tests", command=f"seq 100000; {said}")
    assert long.title.startswith("3 passed, 1 skipped · ")
    assert len(long.text) < KEEP
    assert "[the whole output is in .roommate/output/" in long.text


async def test_what_is_not_there_is_said(room: Room) -> None:
    nothing = await room.call("run_tests")
    assert not nothing.ok
    assert nothing.title == "no tests found"
    assert project_tests.LOOKED_FOR in nothing.text
    assert "no such file" in (await room.call("run_tests", path="nowhere")).text
    assert "no such file" in (await room.call("run_tests", path="tests/test_x.py")).text


async def test_what_a_folder_declares(room: Room) -> None:
    async def found(path: str = ".") -> list[tuple[str, str]]:
        return [(suite.name, suite.folder) for suite in await project_tests.suites(room.hand.host, path)]

    package = json.dumps({"scripts": {"test": "node --test"}})
    files(room.files, web__package_json=package, web__node_modules__x__package_json=package)
    files(room.files, api__setup_py="", api__src__api__deep__test_it_py=TESTS, api__venv__site_packages__test_x_py="")
    files(room.files, native__Cargo_toml="", native__go_mod="", empty__package_json='{"scripts": {"test": ""}}')
    (room.files / "native" / "go.mod").write_text("")
    (room.files / "old").mkdir()
    (room.files / "old" / "Makefile").write_text("all:\n\ntest: all\n\techo\n")
    (room.files / "no").mkdir()
    (room.files / "no" / "Makefile").write_text("test := 5\ntested:\n")
    python = [("pytest", "api"), ("ruff", "api")]
    others = [("cargo test", "native"), ("go test", "native"), ("make test", "old"), ("npm test", "web")]
    assert await found() == [*python, *others]
    assert await found("web") == [("npm test", "web")]
    assert await found("api/src/api/deep/test_it.py") == [("pytest", "api")]
    files(room.files, test_top_py=TESTS)
    assert await found() == [("pytest", "."), ("ruff", ".")], "what the folder itself declares goes first"
    assert await found("empty") == []


@pytest.mark.parametrize(
    ("package", "has"),
    [
        ('{"scripts": {"test": "vitest run"}}', True),
        ('{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}', False),
        ('{"scripts": {"test": 5}}', False),
        ('{"scripts": []}', False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_a_package_that_declares_tests(package: str, has: bool) -> None:
    assert project_tests.has_script(package) is has
