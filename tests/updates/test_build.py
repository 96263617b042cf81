"""Making a release: who is killed in the middle leaves nobody at work in it, so that the next one begins anew."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from roommate.errors import UpdateError
from roommate.updates.build import build
from roommate.updates.releases import Install
from roommate.updates.repository import Repository
from tests.patience import until
from tests.updates.test_repository import Somewhere

MAKES = """
import sys
from pathlib import Path
from roommate.updates.build import build
from roommate.updates.releases import Install
from roommate.updates.repository import Repository
repository = Repository(Path(sys.argv[1]))
build(Install(Path(sys.argv[2])), repository, repository.told(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.fixture
def mirror(tmp_path: Path) -> tuple[Repository, str]:
    """With one commit, by its id."""
    remote = Somewhere(tmp_path)
    repository = Repository(tmp_path / "mirror.git")
    repository.set_remote(str(remote.folder))
    repository.fetch()
    return repository, remote.first


async def test_an_updater_that_is_killed_takes_along_what_works_for_it(
    mirror: tuple[Repository, str], tmp_path: Path
) -> None:
    _, commit = mirror
    install = (tmp_path / "mirror.git", tmp_path / "root", commit, tmp_path / "uv")
    (tmp_path / "uv").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid\nsleep 600\n")
    (tmp_path / "uv").chmod(0o700)
    updater = await asyncio.create_subprocess_exec(sys.executable, "-c", MAKES, *map(str, install))
    await until((tmp_path / "pid").exists, "the environment being made")
    working = int((tmp_path / "pid").read_text())
    updater.kill()
    await updater.wait()
    await until(lambda: not _lives(working), "the end of what made the environment")


def _lives(process: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False


async def test_what_cannot_be_deleted_is_said(mirror: tuple[Repository, str], tmp_path: Path) -> None:
    repository, commit = mirror
    install = Install(tmp_path / "root")
    stuck = install.release(commit).path / "stuck"
    stuck.mkdir(parents=True)
    await _output("mount", "-t", "tmpfs", "none", stuck)
    try:
        with pytest.raises(UpdateError, match=r"what an earlier attempt left cannot be deleted: .*stuck"):
            build(install, repository, repository.told(commit), tmp_path / "uv")
    finally:
        await _output("umount", stuck)


async def _output(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*(str(word) for word in command))
    assert await process.wait() == 0
