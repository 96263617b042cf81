"""What an update asks of the release that it goes to: up to which shape of the database it can read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from roommate.composition.release_startup import Shapes
from roommate.errors import UpdateError
from roommate.settings.config import Settings
from roommate.store import Database, migrations
from roommate.updates.releases import Release


@pytest.fixture
async def shapes(tmp_path: Path) -> Shapes:
    await Database.open(tmp_path / "state").close()
    return Shapes(Settings(state_dir=tmp_path / "state", _env_file=None))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """With our steps, and nothing that could run."""
    store = tmp_path / "release" / "src" / "roommate" / "store"
    store.mkdir(parents=True)
    shutil.copy(migrations.__file__, store)
    return Release(tmp_path / "release")


async def test_a_release_with_our_steps_is_not_asked(shapes: Shapes, release: Release) -> None:
    with shapes.as_found_by(release) as state:
        assert state == ()
    shapes.fit(release)


async def test_a_release_with_other_steps_is_asked(shapes: Shapes, release: Release) -> None:
    with (release.path / "src/roommate/store/migrations.py").open("a") as file:
        file.write("STEPS = STEPS[:-1]\n")
    with pytest.raises(UpdateError, match="what it can read"):
        shapes.fit(release)
