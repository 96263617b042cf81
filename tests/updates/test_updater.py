"""The updater, as far as nothing of a release is run."""

from __future__ import annotations

import time
from pathlib import Path

from roommate.composition.release_startup import Shapes
from roommate.domain import Update, UpdateStep
from roommate.settings.config import Settings
from roommate.updates.journal import Journal
from roommate.updates.releases import About, Install
from roommate.updates.repository import Repository
from roommate.updates.updater import KEEP, Updater


def test_updates_that_fail_leave_the_newest_few_releases_alone(tmp_path: Path) -> None:
    install, journal = Install(tmp_path / "install"), Journal(tmp_path)
    names = [digit * 12 for digit in "abcdef0123"]
    for made, name in enumerate(names):
        release = install.release(name)
        release.path.mkdir(parents=True)
        if name != names[-1]:
            release.finish(About(name, "", "", float(made)))
    runs, before = install.release(names[0]), install.release(names[1])
    install.switch(before)
    install.switch(runs)
    assert journal.begin(Update("one", runs.name, names[-1], names[-1], "@ann:example.org", time.time()))
    shapes = Shapes(Settings(state_dir=tmp_path / "state", _env_file=None))
    Updater(install, Repository(tmp_path / "nowhere"), journal, shapes, health_seconds=1).run()
    update = journal.read()
    assert update is not None
    assert update.step is UpdateStep.FAILED
    kept = {runs.name, before.name, *names[-1 - KEEP : -1]}
    assert {release.name for release in install.releases()} == kept
