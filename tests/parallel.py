"""How the suite runs side by side: what stays together, what starts first, what workers share.

Each worker process takes one unit after another, the longest first: a file, or one test where tests take seconds and
stand for themselves. Nothing of this changes a test: with ``-n 0`` they run one by one, in the order they stand.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.nursery import Nursery

REAL = frozenset({"homeserver", "image", "agents_image", "learned", "nursery"})
"""Fixtures of tests/conftest.py that take seconds, and so do the tests that ask for them."""
IN_MEMORY = ("tests/fast/", "tests/contracts/")
"""Folders of tests that are fast, but for those that say otherwise."""
SECONDS = Path(__file__).with_name("seconds.json")
"""Unit to seconds, of those that take long, as ``--measure`` wrote it. It gives an order, no more."""
LONG = 2.0
"""Seconds from which on a unit is in that file."""
LONG_FILE = 5.0
"""Seconds from which on a file is too long for the fast tests."""
UNKNOWN = 10.0
"""Seconds that a test which nobody has measured is thought to take, where tests take seconds."""

APART = tuple(f"tests/{folder}/" for folder in ("cli", "demo", "e2e", "install", "sandbox", "updates"))
"""Where each test is a unit of its own."""
TOGETHER = {
    "tests/install/test_service.py": "install",
    "tests/install/test_without_a_service.py": "install",
    "tests/sandbox/test_agents_image.py": "the agents' image",
    "tests/sandbox/test_trust.py": "the agents' image",
    "tests/e2e/test_agents.py": "the agents' image",
    "tests/e2e/test_sharing.py": "the agents' image",
    "tests/e2e/test_cards.py": "cards",
    "tests/e2e/test_noise.py": "noise",
    "tests/sandbox/test_limits_reached.py": "limits reached",
    "tests/e2e/test_story.py": "the agents' image",
    "tests/sandbox/test_image.py": "making images",
    "tests/sandbox/test_site.py": "making images",
    "tests/sandbox/test_rootless.py": "rootless",
    "tests/updates/test_mending.py": "another Python",
    "tests/updates/test_redeploy.py": "redeploy",
}
"""Files there that are one unit, whose tests share what takes long to make, go on where the one before ended, or would
get into each other's way."""


def unit_of(nodeid: str) -> str:
    """What this test runs in one piece with."""
    file = nodeid.partition("::")[0]
    return TOGETHER.get(file) or (nodeid if file.startswith(APART) else file)


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
    """xdist's scheduling by scope, with units as scopes, in the order in which the workers found them."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", action="store_true", help=f"write anew how long tests take, into {SECONDS.name}")


def pytest_configure(config: pytest.Config) -> None:
    if _worker(config):
        Nursery.place = config.workerinput["nursery"]  # type: ignore[attr-defined]
    elif config.getoption("--measure"):
        config.pluginmanager.register(Stopwatch())


def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["nursery"] = Nursery.started()


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: tests wait more than they work."""
    return min(2 * (os.cpu_count() or 1) + 1, 12)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return LongestFirst(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = _known()
    for item in items:
        if _is_fast(item, known):
            item.add_marker("fast")
    if _worker(config):
        items.sort(key=lambda item: -known.get(unit := unit_of(item.nodeid), UNKNOWN if "::" in unit else 0.0))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder that all workers of this run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if _worker(pytestconfig) else own  # xdist gives each worker a folder in it


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold this lock, among processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_fast(item: pytest.Item, known: Mapping[str, float]) -> bool:
    """It asks for nothing that is real and slow, and its unit has not taken long, or is there to be fast."""
    found: Mapping[str, Sequence[pytest.FixtureDef[object]]] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    if item.get_closest_marker("slow") or any(found[name][-1].baseid == "tests" for name in REAL & found.keys()):
        return False
    unit = unit_of(item.nodeid)
    return unit.startswith(IN_MEMORY) or known.get(unit, 0.0) <= (LONG if "::" in unit else LONG_FILE)


class Stopwatch:
    """Adds up how long each unit takes."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[unit_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        there = {*TOGETHER.values(), *(str(path) for path in Path("tests").rglob("*.py"))}
        known = {unit: took for unit, took in _known().items() if unit.partition("::")[0] in there}
        long = {unit: round(took) for unit, took in sorted((known | self._seconds).items()) if took >= LONG}
        SECONDS.write_text(json.dumps(long, indent=1) + "\n")


def _known() -> dict[str, float]:
    known: dict[str, float] = json.loads(SECONDS.read_text())
    return known


def _worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
