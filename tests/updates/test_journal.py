"""The journal: one update at a time, and nobody goes back over what another has written."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import Update, UpdateStep
from roommate.errors import StateError, UpdateError
from roommate.updates.at_start import settle
from roommate.updates.journal import Journal
from roommate.updates.releases import About, Install, Release

UPDATE = Update("one", "a" * 12, "b" * 12, "b" * 40, "@ann:example.org", time.time())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path)
    assert journal.begin(UPDATE)
    return journal


def test_it_reads_what_was_written(journal: Journal) -> None:
    update = journal.read()
    assert update is not None
    journal.go_on(update, UpdateStep.CHECK, "made")
    after = journal.read()
    assert after is not None
    assert after.step is UpdateStep.CHECK
    assert [(one.step, one.said) for one in after.taken] == [(UpdateStep.BUILD, "made")]


def test_one_at_a_time(journal: Journal) -> None:
    assert not journal.begin(UPDATE), "the very same: a reaction that is read twice"
    with pytest.raises(UpdateError, match="on its way"):
        journal.begin(replace(UPDATE, id="two"))
    update = journal.read()
    assert update is not None
    journal.go_on(update, UpdateStep.FAILED, why="no")
    assert not journal.begin(UPDATE)
    assert journal.begin(replace(UPDATE, id="two"))


def test_who_is_behind_changes_nothing(journal: Journal) -> None:
    behind = journal.read()
    assert behind is not None
    journal.go_on(behind, UpdateStep.FAILED, why="first")
    assert journal.go_on(behind, UpdateStep.CHECK).step is UpdateStep.FAILED
    assert journal.blame(behind, "second").why == "first"


def test_a_damaged_one_is_said(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "update.json").write_text('{"id": 1}')
    with pytest.raises(StateError, match="damaged"):
        journal.read()


def test_one_carries_out(journal: Journal, tmp_path: Path) -> None:
    with journal.held():
        assert journal.is_held
        with pytest.raises(UpdateError, match="already"), Journal(tmp_path).held():
            pass
    assert not journal.is_held


def test_a_word_of_another_update_does_not_count(journal: Journal) -> None:
    journal.report(UPDATE)
    assert journal.reported(UPDATE) == ""
    assert journal.reported(replace(UPDATE, id="two")) is None


# ── What a start does ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Two releases whose programs say who they are; the old one is current."""
    install = Install(tmp_path / "root")
    for name in (UPDATE.old, UPDATE.new):
        release = install.release(name)
        release.program.parent.mkdir(parents=True)
        release.program.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/became\n")
        release.program.chmod(0o700)
        release.finish(About(name, "", "", 0.0))
    install.switch(install.release(UPDATE.old))
    return install


def _at(journal: Journal, step: UpdateStep) -> None:
    update = journal.read()
    assert update is not None
    journal.go_on(update, step)


def _settle(install: Install, name: str, state: Path) -> None:
    def save(file: Path) -> None:
        (state / "saved").touch()

    def put_back(file: Path) -> None:
        (state / "back").touch()

    def fit(release: Release) -> None:
        (state / "fit").write_text(release.name)
        if (state / "unfit").exists():
            raise StateError("step 3 is final")

    found = settle(install, install.release(name), Journal(state), save=save, fit=fit, put_back=put_back)
    (state / "settled").write_text("on trial" if found else "as ever")


def _start(install: Install, name: str, state: Path) -> set[str]:
    """A start of this release in a process of its own; what it did."""
    process = multiprocessing.get_context("fork").Process(target=_settle, args=(install, name, state))
    process.start()
    process.join()
    did = {name for name in ("saved", "back") if (state / name).exists()}
    for file in ("became", "settled"):
        if (state / file).exists():
            did.add((state / file).read_text().strip())
    return did


@pytest.mark.parametrize("step", [UpdateStep.BUILD, UpdateStep.CHECK, UpdateStep.IMAGE])
def test_before_it_hands_over_the_old_release_just_starts(
    journal: Journal, install: Install, tmp_path: Path, step: UpdateStep
) -> None:
    _at(journal, step)
    assert _start(install, UPDATE.old, tmp_path) == {"as ever"}


def test_the_old_release_saves_the_database_and_hands_over(journal: Journal, install: Install, tmp_path: Path) -> None:
    _at(journal, UpdateStep.RESTART)
    assert _start(install, UPDATE.old, tmp_path) == {"saved", UPDATE.new}
    update = journal.read()
    assert update is not None
    assert update.step is UpdateStep.TRIAL
    assert (tmp_path / "fit").read_text() == UPDATE.new, "the database is one that it can read"
    assert install.current == install.release(UPDATE.old), "it is still what a start takes"


def test_a_database_that_cannot_be_made_as_it_was_is_put_back(
    journal: Journal, install: Install, tmp_path: Path
) -> None:
    _at(journal, UpdateStep.RESTART)
    (tmp_path / "unfit").touch()
    assert _start(install, UPDATE.old, tmp_path) == {"saved", "back", "as ever"}
    update = journal.read()
    assert update is not None
    assert (update.step, update.why) == (UpdateStep.FAILED, "step 3 is final")


def test_the_new_release_is_on_trial(journal: Journal, install: Install, tmp_path: Path) -> None:
    _at(journal, UpdateStep.TRIAL)
    assert _start(install, UPDATE.new, tmp_path) == {"on trial"}


def test_the_old_release_after_a_trial_puts_the_database_back(
    journal: Journal, install: Install, tmp_path: Path
) -> None:
    _at(journal, UpdateStep.TRIAL)
    assert _start(install, UPDATE.old, tmp_path) == {"back", "as ever"}
    update = journal.read()
    assert update is not None
    assert update.step is UpdateStep.FAILED


def test_the_old_release_after_a_good_trial_takes_nothing_back(
    journal: Journal, install: Install, tmp_path: Path
) -> None:
    _at(journal, UpdateStep.CONFIRMED)
    assert _start(install, UPDATE.old, tmp_path) == {UPDATE.new}
    assert install.current == install.release(UPDATE.new)
    assert install.previous == install.release(UPDATE.old)
