"""Which tests the projects in a folder declare, and how they are run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roommate.domain import DirEntry, Hand
from roommate.errors import ToolError

PYTHON = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py", "requirements.txt", "conftest.py")
TEST_FILES = ("test_*.py", "*_test.py")
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
LOOKED_FOR = "test_*.py, the test script of package.json, Cargo.toml, go.mod, and the target test of a Makefile"
NOT_ENTERED = frozenset({"node_modules", "venv", "target", "dist", "build"})
MOST_FOLDERS = 5
"""Folders below, each with a project of its own, whose tests are run in one go."""
MOST_FILES = 2000
LARGEST = 1 << 20

PYTEST, RUFF, OTHER = "pytest", "ruff", ""
UNITTESTS = {"UNITTESTS": Path(__file__).with_name("unittest_program.py").read_text("utf-8")}
"""For a Python that has no pytest; in the environment of that suite."""

_PYTEST = """\
python=python3
for venv in .venv venv; do [ -x $venv/bin/python ] && python=$venv/bin/python && break; done
for venv in .venv venv; do [ -x $venv/bin/pytest ] && python=$venv/bin/python && break; done
tests() {
    if $python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("pytest"))'
    then exec $python -m pytest "$@"; else exec $python -c "$UNITTESTS" "$@"; fi
}
tests """
_RUFF = "command -v ruff >/dev/null || exit 0; exec ruff check --quiet --output-format concise ."
_TARGET = re.compile(r"^test\s*:(?!=)", re.MULTILINE)
_NO_SCRIPT = "no test specified"
"""What ``npm init`` writes in place of tests."""


@dataclass(frozen=True, slots=True)
class Suite:
    """`command` is a text for the shell, run in `folder`; `by` says who understands what it prints."""

    name: str
    folder: str
    command: str
    by: str = OTHER


async def suites(hand: Hand, path: str) -> list[Suite]:
    """What there is to run: of the folder itself, else of the folders in it. `path` may be a Python file, too."""
    if path.endswith(".py"):
        return await _of_file(hand, PurePosixPath(path))
    entries, _ = await hand.list(path)
    if found := await _declared(hand, path, entries):
        return found
    below: list[Suite] = []
    folders = 0
    for entry in entries:
        if entry.kind == "dir" and not entry.path.startswith(".") and entry.path not in NOT_ENTERED:
            folder = str(PurePosixPath(path, entry.path))
            more = await _declared(hand, folder, (await hand.list(folder))[0])
            below += more
            folders += bool(more)
        if folders == MOST_FOLDERS:
            break
    return below


async def _of_file(hand: Hand, file: PurePosixPath) -> list[Suite]:
    """A file's tests are run where the project begins that it belongs to."""
    await hand.read(str(file), limit=0)
    folder = file.parent
    for above in file.parents:
        if await _there(hand, above, PYTHON):
            folder = above
            break
    return [Suite("pytest", str(folder), _PYTEST + shlex.quote(str(file.relative_to(folder))), PYTEST)]


async def _there(hand: Hand, folder: PurePosixPath, names: Collection[str]) -> bool:
    return any(entry.path in names for entry in (await hand.list(str(folder)))[0])


async def _declared(hand: Hand, folder: str, entries: list[DirEntry]) -> list[Suite]:
    files = {entry.path for entry in entries if entry.kind in ("file", "link")}
    found: list[Suite] = []
    if await _has_python_tests(hand, folder, files):
        found += [Suite("pytest", folder, _PYTEST, PYTEST), Suite("ruff", folder, _RUFF, RUFF)]
    if "package.json" in files and has_script(await _text(hand, folder, "package.json")):
        found.append(Suite("npm test", folder, "exec npm test"))
    if "Cargo.toml" in files:
        found.append(Suite("cargo test", folder, "exec cargo test"))
    if "go.mod" in files:
        found.append(Suite("go test", folder, "exec go test -v ./..."))
    makefile = next((name for name in MAKEFILES if name in files), "")
    if not found and makefile and _TARGET.search(await _text(hand, folder, makefile)):
        found.append(Suite("make test", folder, "exec make test"))
    return found


async def _has_python_tests(hand: Hand, folder: str, files: Collection[str]) -> bool:
    """A project's are anywhere below it; without a project they must lie here, or in a folder ``tests``."""
    project = not set(PYTHON).isdisjoint(files)
    for name in TEST_FILES:
        for entry in (await hand.list(folder, name, MOST_FILES))[0]:
            above = PurePosixPath(entry.path).parts[:-1]
            if "site-packages" not in above and (project or not above or above[0] in ("test", "tests")):
                return True
    return False


def has_script(package: str) -> bool:
    """Does this package.json say how to run tests?"""
    try:
        said = json.loads(package)
    except (ValueError, RecursionError):
        return False
    scripts = said.get("scripts") if isinstance(said, dict) else None
    script = scripts.get("test") if isinstance(scripts, dict) else None
    return isinstance(script, str) and bool(script.strip()) and _NO_SCRIPT not in script


async def _text(hand: Hand, folder: str, name: str) -> str:
    try:
        return (await hand.read(f"{folder}/{name}", limit=LARGEST)).content.decode("utf-8", "replace")
    except ToolError:  # a link to nowhere
        return ""
