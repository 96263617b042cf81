"""How a daemon begins and begins again where there are releases: what an open update wants of it comes first."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from roommate.domain import Update
from roommate.settings.config import Settings
from roommate.store import DATABASE, copy, locked, migrations, put_back, take_down, version
from roommate.updates import at_start, build
from roommate.updates.journal import Journal
from roommate.updates.releases import Release, own


def settle(settings: Settings) -> Update | None:
    """Call it before the database is opened. Gives the update when this release is on trial; may not return, when
    another release takes the process over. Raises StateError."""
    found = own()
    if found is None:
        return None
    state = settings.state_dir

    shapes = Shapes(settings)

    def save(to: Path) -> None:
        with locked(state):
            to.unlink(missing_ok=True)
            copy(state, to)

    def take_back(saved: Path) -> None:
        if saved.exists():
            put_back(saved, state)

    return at_start.settle(*found, Journal(state), save=save, fit=shapes.fit, put_back=take_back)


class Shapes:
    """Implements updates.updater.Shapes. An earlier release knows no later shape: what came since is undone."""

    def __init__(self, settings: Settings) -> None:
        self._state, self._run = settings.state_dir, settings.run_dir
        self._patience = settings.patience

    @contextlib.contextmanager
    def as_found_by(self, release: Release) -> Iterator[Sequence[str]]:
        known = self._known(release)
        if version(self._state) <= known:
            yield ()
            return
        with tempfile.TemporaryDirectory(prefix="self-check-", dir=self._state) as folder:
            copy(self._state, Path(folder) / DATABASE)
            take_down(Path(folder), known)
            yield f"STATE_DIR={folder}", f"IPC_BASE_DIR={self._run}"

    def _known(self, release: Release) -> int:
        """Up to which version of the database a release can read it. Raises UpdateError."""
        ours = Path(migrations.__file__)
        theirs = release.path / "src" / "roommate" / "store" / ours.name
        if theirs.is_file() and theirs.read_bytes() == ours.read_bytes():
            return len(migrations.STEPS)  # most releases have no new step: without a Python that loads all of `store`
        return build.knows(release, self._patience)

    def fit(self, release: Release) -> None:
        known = self._known(release)
        take_down(self._state, known)


def program() -> str | None:
    """What a start would start now; None where there are no releases."""
    found = own()
    current = found[0].current if found else None
    return str(current.program) if current else None
