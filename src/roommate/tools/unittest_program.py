"""The program that run_tests runs in a room where pytest is not there: its files, by unittest of the standard library.

Its first argument may be a file; what else pytest would be told is passed over.
"""

# What it prints is its answer.
# ruff: noqa: T201

from __future__ import annotations

import os
import sys
import unittest
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import FunctionType

PASSED_OVER = ("node_modules", "site-packages", "venv", "build", "dist")
NO_TESTS_RAN = 5
"""As of pytest, and of unittest since Python 3.12."""


def files(folder: Path) -> Iterator[Path]:
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in PASSED_OVER)
        for name in sorted(names):
            if fnmatch(name, "test_*.py") or fnmatch(name, "*_test.py"):
                yield Path(above, name)


def load(file: Path) -> tuple[unittest.TestSuite, list[str]]:
    """Its tests, imported as pytest does: by the name from the first folder above that is no package. And the names of
    those that only pytest runs."""
    folder, names = file.parent, [file.stem]
    while (folder / "__init__.py").exists():
        folder, names = folder.parent, [folder.name, *names]
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(names)
    sys.modules.pop(name, None)  # of another file with such a name
    tests = unittest.defaultTestLoader.loadTestsFromName(name)
    known = vars(sys.modules[name]) if name in sys.modules else {}
    return tests, [one for one, what in known.items() if one.startswith("test") and isinstance(what, FunctionType)]


def main(arguments: list[str]) -> int:
    here = Path.cwd()
    sys.path.insert(0, str(here))
    print("pytest is not installed here: unittest runs the tests", flush=True)
    suite, others = unittest.TestSuite(), []
    for file in [here / arguments[0]] if not arguments[0].startswith("-") else files(here):
        tests, functions = load(file)
        suite.addTest(tests)
        others += functions
    done = unittest.TextTestRunner(stream=sys.stdout).run(suite)
    if others:
        print(f"not run, since only pytest does: {', '.join(others[:20])} ({len(others)} in all)")
    if not done.wasSuccessful():
        return 1
    return NO_TESTS_RAN if others or not done.testsRun else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
